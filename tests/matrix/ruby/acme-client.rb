# A client made of Debian's ruby-acme-client, as its README uses it: order, revoke, change the account's key.

require 'acme-client'
require 'openssl'
require 'optparse'

asked = { do: 'issue' }
names = []
OptionParser.new do |parser|
  parser.on('--directory URL')
  parser.on('--ca FILE')
  parser.on('--out FOLDER')
  parser.on('--do ACT')
  parser.on('-n', '--name NAME') { |name| names << name }
end.parse!(into: asked)

key_file = File.join(asked[:out], 'account.pem')
chain_file = File.join(asked[:out], 'chain.pem')
File.write(key_file, OpenSSL::PKey::RSA.new(4096).to_pem) unless File.exist?(key_file)

client = Acme::Client.new(
  private_key: OpenSSL::PKey::RSA.new(File.read(key_file)),
  directory: asked[:directory],
  connection_options: { ssl: { ca_file: asked[:ca] } }
)
client.new_account(contact: 'mailto:ops@example.org', terms_of_service_agreed: true)

case asked[:do]
when 'issue'
  order = client.new_order(identifiers: names)
  order.authorizations.each do |authorization|
    challenge = authorization.http
    challenge.request_validation
    while challenge.status == 'pending'
      sleep(2)
      challenge.reload
    end
    abort("the challenge is #{challenge.status}") unless challenge.status == 'valid'
  end
  key = OpenSSL::PKey::RSA.new(2048)
  File.write(File.join(asked[:out], 'key.pem'), key.to_pem)
  csr = Acme::Client::CertificateRequest.new(private_key: key, names: names, subject: { common_name: names.first })
  order.finalize(csr: csr)
  while order.status == 'processing'
    sleep(1)
    order.reload
  end
  File.write(chain_file, order.certificate)
when 'revoke'
  client.revoke(certificate: File.read(chain_file))
when 'roll'
  key = OpenSSL::PKey::RSA.new(4096)
  client.account_key_change(new_private_key: key)
  File.write(key_file, key.to_pem)
else
  abort("no such act: #{asked[:do]}")
end
