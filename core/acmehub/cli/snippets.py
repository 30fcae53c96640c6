"""The snippets of `cli.pasted`, one per client."""

from collections.abc import Sequence

from acmehub.cli.library_snippets import LIBRARIES
from acmehub.cli.snippet import Snippet

SNIPPETS: Sequence[Snippet] = (
    Snippet(
        client="certbot",
        remark="any authenticator will do: nobody connects to the device",
        text="""
[[REQUESTS_CA_BUNDLE={ca} ]]certbot certonly -n --agree-tos -m {mail} --server {directory} \
--eab-kid {kid} --eab-hmac-key {hmac_key} --standalone -d {name}
""",
    ),
    Snippet(
        client="lego",
        remark="lego 4; renew: the same with `renew` instead of `run`",
        text="""
[[LEGO_CA_CERTIFICATES={ca} ]]lego -s {directory} -a -m {mail} --eab --kid {kid} --hmac {hmac_key} \
--http --http.port 127.0.0.1:{port} -d {name} run
""",
    ),
    Snippet(
        client="lego 5",
        text="""
[[LEGO_CA_CERTIFICATES={ca} ]]lego run -s {directory} -a -m {mail} --eab --eab.kid {kid} --eab.hmac {hmac_key} \
--http --http.address 127.0.0.1:{port} -d {name}
""",
    ),
    Snippet(
        client="Caddy",
        remark="global options of the Caddyfile",
        language="caddyfile",
        text="""
{
	acme_ca {directory}
[[	acme_ca_root {ca}
]]	acme_eab {
		key_id {kid}
		mac_key {hmac_key}
	}
}
""",
    ),
    Snippet(
        client="acme.sh",
        remark="`--stateless` serves nothing, which is what is wanted",
        text="""
acme.sh --register-account --server {directory} --eab-kid {kid} --eab-hmac-key {hmac_key} -m {mail}[[ --ca-bundle {ca}]]
acme.sh --issue --stateless -d {name} --server {directory}[[ --ca-bundle {ca}]]
""",
    ),
    Snippet(
        client="Apache mod_md",
        language="apache",
        remark="with `a2enmod md ssl`; the site is a `<VirtualHost *:443>` of that name with `SSLEngine on`",
        text="""
MDCertificateAuthority {directory}
[[MDCACertificateFile {ca}
]]MDExternalAccountBinding {kid} {hmac_key}
MDCertificateAgreement accepted
MDContactEmail {mail}
MDomain {name}
""",
    ),
    Snippet(
        client="dehydrated",
        remark="the first lines are its `config`",
        text="""
cat >config <<'END'
CA={directory}
EAB_KID={kid}
EAB_HMAC_KEY={hmac_key}
CONTACT_EMAIL={mail}
[[CURL_OPTS="--cacert {ca}"
]]END
mkdir -p challenges
echo 'WELLKNOWN=$PWD/challenges' >>config
dehydrated -f config --register --accept-terms
dehydrated -f config -c -d {name}
""",
    ),
    Snippet(
        client="uacme",
        remark="the hook does nothing; uacme trusts what the system trusts",
        text="""
[[cp {ca} /usr/local/share/ca-certificates/acmehub.crt && update-ca-certificates
]]uacme -y -a {directory} -e {kid}:{hmac_key} new {mail}
uacme -a {directory} -h /bin/true issue {name}
""",
    ),
    Snippet(
        client="acme-tiny",
        secret_directory=True,
        remark="knows no EAB: it needs the token's secret directory URL",
        text="""
openssl genrsa -out account.key 2048
openssl req -new -newkey rsa:2048 -nodes -keyout host.key -subj / -addext subjectAltName=DNS:{name} -out host.csr
[[SSL_CERT_FILE={ca} ]]acme-tiny --directory-url {secret_directory} --account-key account.key --csr host.csr \
--acme-dir . --disable-check >host.pem
""",
    ),
    Snippet(
        client="node acme-client",
        language="js",
        remark="`npm install acme-client`[[; run it with `NODE_EXTRA_CA_CERTS={ca}`]]",
        text="""
const acme = require('acme-client');
const fs = require('fs');

(async () => {
  const client = new acme.Client({
    directoryUrl: '{directory}',
    accountKey: await acme.crypto.createPrivateKey(),
    externalAccountBinding: { kid: '{kid}', hmacKey: '{hmac_key}' },
  });
  const [key, csr] = await acme.crypto.createCsr({ altNames: ['{name}'] });
  const nothing = async () => {};  // the hub proves control of the name
  const chain = await client.auto({
    csr,
    email: '{mail}',
    termsOfServiceAgreed: true,
    skipChallengeVerification: true,
    challengeCreateFn: nothing,
    challengeRemoveFn: nothing,
  });
  fs.writeFileSync('host.key', key, { mode: 0o600 });
  fs.writeFileSync('host.pem', chain);
})().catch((error) => { console.error(error); process.exit(1); });
""",
    ),
    Snippet(
        client="Ansible",
        language="yaml",
        remark="community.crypto[[; run it with `SSL_CERT_FILE={ca}`]]",
        text="""
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/community.crypto.acme:
      acme_version: 2
      acme_directory: {directory}
      account_key_src: "{{ playbook_dir }}/account.key"
      request_timeout: 60
  tasks:
    - community.crypto.openssl_privatekey:
        path: "{{ playbook_dir }}/{{ item }}.key"
      loop: [account, host]
    - community.crypto.openssl_csr:
        path: "{{ playbook_dir }}/host.csr"
        privatekey_path: "{{ playbook_dir }}/host.key"
        subject_alt_name: ["DNS:{name}"]
    - community.crypto.acme_account:
        state: present
        terms_agreed: true
        contact: ["mailto:{mail}"]
        external_account_binding: {kid: "{kid}", alg: HS256, key: "{hmac_key}"}
    - community.crypto.acme_certificate:
        modify_account: false
        csr: "{{ playbook_dir }}/host.csr"
        fullchain_dest: "{{ playbook_dir }}/host.pem"
        remaining_days: 30
      register: order
    - community.crypto.acme_certificate:
        modify_account: false
        csr: "{{ playbook_dir }}/host.csr"
        fullchain_dest: "{{ playbook_dir }}/host.pem"
        remaining_days: 30
        data: "{{ order }}"
      when: order is changed
""",
    ),
    Snippet(
        client="Traefik",
        run=False,
        program="go/traefik",
        language="yaml",
        remark="static configuration",
        text="""
certificatesResolvers:
  hub:
    acme:
      caServer: {directory}
[[      caCertificates: ["{ca}"]
]]      email: {mail}
      storage: acme.json
      eab:
        kid: {kid}
        hmacEncoded: {hmac_key}
      tlsChallenge: {}
""",
    ),
    Snippet(
        client="cert-manager",
        run=False,
        program="go/certmanager",
        language="yaml",
        remark="any solver will do[[; for caBundle: `base64 -w0 {ca}`]]",
        text="""
apiVersion: v1
kind: Secret
metadata:
  name: acmehub
  namespace: cert-manager
stringData:
  hmac-key: {hmac_key}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: acmehub
spec:
  acme:
    server: {directory}
    email: {mail}
[[    caBundle: BASE64
]]    privateKeySecretRef:
      name: acmehub-account
    externalAccountBinding:
      keyID: {kid}
      keySecretRef:
        name: acmehub
        key: hmac-key
    solvers:
      - http01:
          ingress: {}
""",
    ),
    Snippet(
        client="HAProxy",
        language="haproxy",
        remark="3.4; in eab.id `{kid}`, in eab.key `{hmac_key}`; then `load crt … acme hub domains {name}`",
        text="""
global
    expose-experimental-directives
[[    httpclient.ssl.ca-file {ca}
]]    stats socket /etc/haproxy/admin.sock mode 600 level admin

acme hub
    directory {directory}
    account-key /etc/haproxy/account.key
    contact {mail}
    challenge HTTP-01
    keytype ECDSA
    eab-key-id /etc/haproxy/eab.id
    eab-mac-key /etc/haproxy/eab.key
""",
    ),
    Snippet(
        client="Posh-ACME",
        run=False,
        language="powershell",
        text="""
[[Import-Certificate -FilePath {ca} -CertStoreLocation Cert:\\LocalMachine\\Root
]]Set-PAServer -DirectoryUrl {directory}
New-PAAccount -AcceptTOS -Contact {mail} -ExtAcctKID {kid} -ExtAcctHMACKey {hmac_key}
New-PACertificate {name}
""",
    ),
    Snippet(
        client="win-acme",
        run=False,
        language="bat",
        remark="and simple-acme; they trust what Windows trusts[[: import {ca} there]]",
        text="""
wacs.exe --source manual --host {name} --baseuri {directory} --eab-key-identifier {kid} --eab-key {hmac_key} \
--validation none --store pemfiles --pemfilespath . --accepttos --emailaddress {mail}
""",
    ),
    Snippet(
        client="nginx-acme",
        run=False,
        language="nginx",
        remark="the file has the HMAC key in it: `{hmac_key}`",
        text="""
acme_issuer hub {
    uri {directory};
    contact {mail};
    external_account_key {kid} /etc/nginx/acmehub.key;
[[    ssl_trusted_certificate {ca};
]]    state_path /var/cache/nginx/acmehub;
    accept_terms_of_service;
}
acme_shared_zone zone=acmehub:1M;

server {
    listen 443 ssl;
    server_name {name};
    acme_certificate hub;
    ssl_certificate $acme_certificate;
    ssl_certificate_key $acme_certificate_key;
    ssl_certificate_cache max=2;
}
""",
    ),
    Snippet(
        client="Proxmox VE",
        run=False,
        remark="it trusts what the system trusts",
        text="""
[[cp {ca} /usr/local/share/ca-certificates/acmehub.crt && update-ca-certificates
]]pvenode acme account register acmehub {mail} --directory {directory} --eab-kid {kid} --eab-hmac-key {hmac_key}
pvenode config set --acme account=acmehub,domains={name}
pvenode acme cert order
""",
    ),
    Snippet(
        client="OpenBSD acme-client",
        run=False,
        secret_directory=True,
        language="conf",
        remark="acme-client.conf; it knows no EAB[[; put {ca} at the end of /etc/ssl/cert.pem]]",
        text="""
authority acmehub {
	api url "{secret_directory}"
	account key "/etc/acme/acmehub.key"
}
domain {name} {
	domain key "/etc/ssl/private/{name}.key"
	domain full chain certificate "/etc/ssl/{name}.crt"
	sign with acmehub
}
""",
    ),
    *LIBRARIES,
)


def snippet(client: str) -> Snippet:
    """The snippet of a client, by its name or a part of it (any case); `KeyError` for one that is not there."""
    wanted = client.lower()
    found = [item for item in SNIPPETS if wanted in item.client.lower()]
    if not found:
        raise KeyError(client)
    return next((item for item in found if item.client.lower() == wanted), found[0])
