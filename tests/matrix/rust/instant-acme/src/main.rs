//! A client made of instant-acme, after its documentation: order, renew if ARI says so, revoke, change the key.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
    RevocationReason, RevocationRequest,
};
use rustls_pki_types::{pem::PemObject, CertificateDer};
use time::OffsetDateTime;

const USAGE: &str = "--directory URL --ca FILE --out FOLDER [--kid ID --hmac KEY] [--profile NAME] [--timeout SECONDS] \
                     [--do issue|ari|revoke|roll] [--name NAME]...";

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Options {
    directory: String,
    ca: PathBuf,
    out: PathBuf,
    kid: Option<String>,
    hmac: String,
    profile: Option<String>,
    retries: RetryPolicy,
    act: String,
    names: Vec<String>,
}

fn options() -> Outcome<Options> {
    let mut given = pico_args::Arguments::from_env();
    let timeout: Option<u64> = given.opt_value_from_str("--timeout")?;
    Ok(Options {
        directory: given.value_from_str("--directory")?,
        ca: given.value_from_str("--ca")?,
        out: given.value_from_str("--out")?,
        kid: given.opt_value_from_str("--kid")?,
        hmac: given.opt_value_from_str("--hmac")?.unwrap_or_default(),
        profile: given.opt_value_from_str("--profile")?,
        retries: timeout.map_or_else(RetryPolicy::default, |seconds| {
            RetryPolicy::default().timeout(Duration::from_secs(seconds))
        }),
        act: given
            .opt_value_from_str("--do")?
            .unwrap_or_else(|| "issue".to_owned()),
        names: given.values_from_str("--name")?,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let options = options().map_err(|error| format!("{error}\nusage: {USAGE}"))?;
    let mut account = account(&options).await?;
    match options.act.as_str() {
        "issue" => issue(&options, &account, None).await,
        "ari" => {
            let leaf = leaf(&options)?;
            let id = CertificateIdentifier::try_from(&leaf)?;
            let (info, _) = account.renewal_info(&id).await?;
            let start = info.suggested_window.start;
            if start > OffsetDateTime::now_utc() {
                return Err(format!("not due before {start}").into());
            }
            issue(&options, &account, Some(id)).await
        }
        "revoke" => {
            let reason = Some(RevocationReason::Superseded);
            Ok(account
                .revoke(&RevocationRequest {
                    certificate: &leaf(&options)?,
                    reason,
                })
                .await?)
        }
        "roll" => {
            let credentials = account.update_key().await?;
            Ok(fs::write(
                options.out.join("account.json"),
                serde_json::to_vec(&credentials)?,
            )?)
        }
        other => Err(format!("no such act: {other}").into()),
    }
}

async fn account(options: &Options) -> Outcome<Account> {
    let path = options.out.join("account.json");
    let builder = Account::builder_with_root(&options.ca)?;
    if path.exists() {
        let credentials: AccountCredentials = serde_json::from_slice(&fs::read(&path)?)?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let new = NewAccount {
        contact: &["mailto:ops@example.org"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let key = match &options.kid {
        Some(kid) => Some(ExternalAccountKey::new(
            kid.clone(),
            &BASE64_URL_SAFE_NO_PAD.decode(&options.hmac)?,
        )),
        None => None,
    };
    let (account, credentials) = builder
        .create(&new, options.directory.clone(), key.as_ref())
        .await?;
    fs::write(path, serde_json::to_vec(&credentials)?)?;
    Ok(account)
}

/// The steps of instant-acme's documentation; a challenge is answered, though nobody will look.
async fn issue(
    options: &Options,
    account: &Account,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Outcome<()> {
    let identifiers: Vec<_> = options.names.iter().cloned().map(Identifier::Dns).collect();
    let mut new = NewOrder::new(&identifiers);
    if let Some(id) = replaces {
        new = new.replaces(id);
    }
    if let Some(profile) = &options.profile {
        new = new.profile(profile);
    }
    let mut order = account.new_order(&new).await?;
    let mut authorizations = order.authorizations();
    while let Some(found) = authorizations.next().await {
        let mut authorization = found?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(format!("authorization is {other:?}").into()),
        }
        let mut challenge = authorization
            .challenge(ChallengeType::Http01)
            .ok_or("no http-01 challenge")?;
        challenge.set_ready().await?;
    }
    let status = order.poll_ready(&options.retries).await?;
    if status != OrderStatus::Ready {
        return Err(format!("order is {status:?}").into());
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&options.retries).await?;
    fs::write(options.out.join("key.pem"), key)?;
    Ok(fs::write(options.out.join("chain.pem"), chain)?)
}

fn leaf(options: &Options) -> Outcome<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(
        options.out.join("chain.pem"),
    )?)
}
