//! A client made of rustls-acme: its state machine is driven until a new certificate is in its cache.
//!
//! rustls-acme knows no external account, revocation or key change; it retries by itself after an error.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use rustls_acme::caches::DirCache;
use rustls_acme::futures_rustls::pki_types::{pem::PemObject, CertificateDer};
use rustls_acme::rustls::crypto::ring;
use rustls_acme::rustls::{ClientConfig, RootCertStore};
use rustls_acme::{AcmeConfig, EventOk, UseChallenge};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = pico_args::Arguments::from_env();
    let directory: String = given.value_from_str("--directory")?;
    let ca: PathBuf = given.value_from_str("--ca")?;
    let out: PathBuf = given.value_from_str("--out")?;
    let names: Vec<String> = given.values_from_str("--name")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut state = AcmeConfig::new_with_client_config(names, Arc::new(tls))
        .directory(directory)
        .contact_push("mailto:ops@example.org")
        .challenge_type(UseChallenge::Http01)
        .cache(DirCache::new(out.clone()))
        .state();
    futures::executor::block_on(async {
        loop {
            match state.next().await.ok_or("the state machine has ended")? {
                Ok(EventOk::CertCacheStore) => return Ok::<(), Box<dyn Error>>(()),
                Ok(EventOk::DeployedCachedCert) => {
                    return Err("the cached certificate will do".into())
                }
                Ok(event) => println!("{event:?}"),
                Err(error) => println!("{error}"),
            }
        }
    })?;
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("cached_cert_"))
        {
            let text = fs::read_to_string(path)?;
            let begin = text.find(BEGIN).ok_or("no certificate in the cache")?;
            fs::write(out.join("chain.pem"), &text[begin..])?;
        }
    }
    Ok(())
}
