"""What programs that use an ACME library say to it: fragments, for those who write such a program.

tests/matrix has a whole program for each of them, which the matrix runs.
"""

from collections.abc import Sequence

from acmehub.cli.snippet import Snippet

LIBRARIES: Sequence[Snippet] = (
    Snippet(
        client="CertMagic",
        run=False,
        program="go/certmagic",
        language="go",
        remark="Go; any challenge will do[[. TrustedRoots has {ca} in it]]",
        text="""
issuer := certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
	CA:              "{directory}",
	Email:           "{mail}",
	Agreed:          true,
	ExternalAccount: &acme.EAB{KeyID: "{kid}", MACKey: "{hmac_key}"},
[[	TrustedRoots:    roots,
]]})
config.Issuers = []certmagic.Issuer{issuer}
err := config.ManageSync(ctx, []string{"{name}"})
""",
    ),
    Snippet(
        client="acmez",
        run=False,
        program="go/acmez",
        language="go",
        remark="Go; it needs a solver, which may do nothing[[. The HTTP client trusts {ca}]]",
        text="""
client := acmez.Client{
	Client:           &acme.Client{Directory: "{directory}", HTTPClient: httpClient},
	ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: nothing{}},
}
account := acme.Account{TermsOfServiceAgreed: true, Contact: []string{"mailto:{mail}"}, PrivateKey: accountKey}
err := account.SetExternalAccountBinding(ctx, client.Client, acme.EAB{KeyID: "{kid}", MACKey: "{hmac_key}"})
account, err = client.NewAccount(ctx, account)
chains, err := client.ObtainCertificateForSANs(ctx, account, key, []string{"{name}"})
""",
    ),
    Snippet(
        client="x/crypto autocert",
        run=False,
        program="go/autocert",
        language="go",
        remark="Go; no wildcards[[. The HTTP client trusts {ca}]]",
        text="""
hmacKey, err := base64.RawURLEncoding.DecodeString("{hmac_key}")
manager := &autocert.Manager{
	Prompt:                 autocert.AcceptTOS,
	Cache:                  autocert.DirCache("certificates"),
	HostPolicy:             autocert.HostWhitelist("{name}"),
	Email:                  "{mail}",
	Client:                 &acme.Client{DirectoryURL: "{directory}", HTTPClient: httpClient},
	ExternalAccountBinding: &acme.ExternalAccountBinding{KID: "{kid}", Key: hmacKey},
}
""",
    ),
    Snippet(
        client="instant-acme",
        run=False,
        program="rust/instant-acme",
        language="rust",
        remark="Rust; go on when an authorization is valid already, as most are here",
        text="""
let key = ExternalAccountKey::new("{kid}".to_owned(), &BASE64_URL_SAFE_NO_PAD.decode("{hmac_key}")?);
let new = NewAccount { contact: &["mailto:{mail}"], terms_of_service_agreed: true, only_return_existing: false };
let builder = [[Account::builder_with_root("{ca}")?;  // a device that trusts the hub anyway: ]]Account::builder()?;
let (account, credentials) = builder.create(&new, "{directory}".to_owned(), Some(&key)).await?;
let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns("{name}".to_owned())])).await?;
""",
    ),
    Snippet(
        client="rustls-acme",
        run=False,
        program="rust/rustls-acme",
        secret_directory=True,
        language="rust",
        remark="Rust; it knows no EAB[[. `tls` is a rustls ClientConfig that trusts {ca}]]",
        text="""
let state = AcmeConfig::new(["{name}"])
    .directory("{secret_directory}")
[[    .client_tls_config(tls)
]]    .contact_push("mailto:{mail}")
    .cache(DirCache::new("certificates"))
    .state();
""",
    ),
    Snippet(
        client="acme4j",
        run=False,
        program="java/acme4j",
        language="java",
        remark="Java; it waits as long as it is told: 300 s are enough for slow DNS[[. The JVM trusts {ca}: keytool]]",
        text="""
Session session = new Session("{directory}");
Login login = new AccountBuilder().addEmail("{mail}").agreeToTermsOfService().useKeyPair(accountKey)
        .withKeyIdentifier("{kid}", "{hmac_key}").createLogin(session);
Order order = login.newOrder().domain("{name}").create();
order.waitUntilReady(Duration.ofSeconds(300));
order.execute(key);
order.waitForCompletion(Duration.ofSeconds(300));
""",
    ),
)
