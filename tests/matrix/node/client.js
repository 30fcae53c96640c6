// Acts of acme-client that its one-file example does not have: node client.js ACT, with a JSON object in ASKED.
//
// {directory, kid, hmac_key, mail, names, challenge, folder}; kid is empty without EAB. The account key is kept in
// folder/account.key, the chain in folder/host.pem. ACT: issue, revoke, roll.
'use strict';

const acme = require('acme-client');
const fs = require('fs');
const path = require('path');

const asked = JSON.parse(process.env.ASKED);
const accountKey = path.join(asked.folder, 'account.key');
const accountUrl = path.join(asked.folder, 'account.url');
const chain = path.join(asked.folder, 'host.pem');

async function connect() {
  if (!fs.existsSync(accountKey)) fs.writeFileSync(accountKey, await acme.crypto.createPrivateKey(), { mode: 0o600 });
  const options = { directoryUrl: asked.directory, accountKey: fs.readFileSync(accountKey) };
  if (asked.kid) options.externalAccountBinding = { kid: asked.kid, hmacKey: asked.hmac_key };
  if (fs.existsSync(accountUrl)) options.accountUrl = fs.readFileSync(accountUrl, 'utf8');
  return new acme.Client(options);
}

const acts = {
  async issue(client) {
    const [, csr] = await acme.crypto.createCsr({ altNames: asked.names });
    const nothing = async () => {};
    fs.writeFileSync(chain, await client.auto({
      csr,
      email: asked.mail,
      termsOfServiceAgreed: true,
      skipChallengeVerification: true,
      challengePriority: [asked.challenge],
      challengeCreateFn: nothing,
      challengeRemoveFn: nothing,
    }));
    fs.writeFileSync(accountUrl, client.getAccountUrl());
  },
  async revoke(client) {
    await client.revokeCertificate(fs.readFileSync(chain));
  },
  async roll(client) {
    const key = await acme.crypto.createPrivateKey();
    await client.updateAccountKey(key);
    fs.writeFileSync(accountKey, key);
  },
};

connect().then((client) => acts[process.argv[2]](client)).catch((error) => {
  console.error(error);
  process.exit(1);
});
