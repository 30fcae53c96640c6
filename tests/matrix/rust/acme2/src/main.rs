//! A client made of acme2 or of acme2-eab (its fork with external accounts), step by step as their README does it.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use acme2::openssl::pkey::{PKey, Private};
use acme2::{
    gen_rsa_private_key, AccountBuilder, AuthorizationStatus, ChallengeStatus, Csr,
    DirectoryBuilder, OrderBuilder, OrderStatus,
};

const EVERY: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut given = pico_args::Arguments::from_env();
    let directory: String = given.value_from_str("--directory")?;
    let ca: PathBuf = given.value_from_str("--ca")?;
    let out: PathBuf = given.value_from_str("--out")?;
    let timeout: Option<usize> = given.opt_value_from_str("--timeout")?;
    let attempts = timeout.map_or(3, |seconds| seconds / 5); // 3 in the README
    #[cfg(feature = "eab")]
    let external: Option<(String, String)> = match given.opt_value_from_str("--kid")? {
        Some(kid) => Some((kid, given.value_from_str("--hmac")?)),
        None => None,
    };
    let names: Vec<String> = given.values_from_str("--name")?;

    let http = reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(&fs::read(ca)?)?)
        .build()?;
    let directory = DirectoryBuilder::new(directory)
        .http_client(http)
        .build()
        .await?;

    let mut builder = AccountBuilder::new(directory);
    builder.contact(vec!["mailto:ops@example.org".to_string()]);
    builder.terms_of_service_agreed(true);
    builder.private_key(account_key(&out)?);
    #[cfg(feature = "eab")]
    if let Some((kid, hmac)) = external {
        use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
        builder.external_account_binding(kid, PKey::hmac(&BASE64_URL_SAFE_NO_PAD.decode(hmac)?)?);
    }
    let account = builder.build().await?;

    let mut builder = OrderBuilder::new(account);
    for name in names {
        builder.add_dns_identifier(name);
    }
    let order = builder.build().await?;

    for authorization in order.authorizations().await? {
        let challenge = authorization
            .get_challenge("http-01")
            .ok_or("no http-01 challenge")?;
        let challenge = challenge.validate().await?.wait_done(EVERY, attempts).await?;
        assert_eq!(challenge.status, ChallengeStatus::Valid);
        let authorization = authorization.wait_done(EVERY, attempts).await?;
        assert_eq!(authorization.status, AuthorizationStatus::Valid);
    }
    let order = order.wait_ready(EVERY, attempts).await?;
    assert_eq!(order.status, OrderStatus::Ready);

    let key = gen_rsa_private_key(4096)?;
    fs::write(out.join("key.pem"), key.private_key_to_pem_pkcs8()?)?;
    let order = order.finalize(Csr::Automatic(key)).await?;
    let order = order.wait_done(EVERY, attempts).await?;
    assert_eq!(order.status, OrderStatus::Valid);

    let mut chain = Vec::new();
    for certificate in order.certificate().await?.ok_or("no certificate")? {
        chain.extend(certificate.to_pem()?);
    }
    Ok(fs::write(out.join("chain.pem"), chain)?)
}

/// The key of the account, kept for the next order.
fn account_key(out: &PathBuf) -> Result<PKey<Private>, Box<dyn Error>> {
    let path = out.join("account.pem");
    if path.exists() {
        return Ok(PKey::private_key_from_pem(&fs::read(path)?)?);
    }
    let key = gen_rsa_private_key(4096)?;
    fs::write(path, key.private_key_to_pem_pkcs8()?)?;
    Ok(key)
}
