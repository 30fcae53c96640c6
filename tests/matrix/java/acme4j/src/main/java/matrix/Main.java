package matrix;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.shredzone.acme4j.AccountBuilder;
import org.shredzone.acme4j.Authorization;
import org.shredzone.acme4j.Certificate;
import org.shredzone.acme4j.Login;
import org.shredzone.acme4j.Order;
import org.shredzone.acme4j.OrderBuilder;
import org.shredzone.acme4j.RevocationReason;
import org.shredzone.acme4j.Session;
import org.shredzone.acme4j.Status;
import org.shredzone.acme4j.challenge.Http01Challenge;
import org.shredzone.acme4j.exception.AcmeException;
import org.shredzone.acme4j.util.KeyPairUtils;

/**
 * A client made of acme4j, with the steps and the 60 seconds of its example: order, renew if ARI says so, revoke,
 * change the account's key.
 */
public final class Main {
    private final Map<String, String> options = new HashMap<>(Map.of("do", "issue", "timeout", "60", "out", "."));
    private final List<String> names = new ArrayList<>();

    private Main(String[] arguments) {
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            String name = arguments[i].replaceFirst("^--?", "");
            if (name.equals("name")) {
                names.add(arguments[i + 1]);
            } else {
                options.put(name, arguments[i + 1]);
            }
        }
    }

    /** Arguments: -directory URL -ca FILE -out FOLDER [-kid ID -hmac KEY] [-timeout SECONDS] [-do ACT] -name NAME... */
    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        new Main(arguments).run();
    }

    private void run() throws AcmeException, IOException, GeneralSecurityException, InterruptedException {
        trust(Path.of(options.get("ca")));
        Session session = new Session(URI.create(options.get("directory")));
        KeyPair key = keyPair(out("account.pem"));
        Login login = login(session, key);
        switch (options.get("do")) {
            case "issue" -> issue(login.newOrder());
            case "ari" -> {
                X509Certificate leaf = leaf();
                Instant start = login.bindRenewalInfo(leaf).getSuggestedWindowStart();
                if (start.isAfter(Instant.now())) {
                    throw new IllegalStateException("not due before " + start);
                }
                issue(login.newOrder().replaces(leaf));
            }
            case "revoke" -> Certificate.revoke(login, leaf(), RevocationReason.SUPERSEDED);
            case "roll" -> {
                KeyPair next = KeyPairUtils.createECKeyPair("secp384r1");
                login.getAccount().changeKey(next);
                save(next, out("account.pem"));
            }
            default -> throw new IllegalArgumentException("no such act");
        }
    }

    private Login login(Session session, KeyPair key) throws AcmeException {
        AccountBuilder account = new AccountBuilder().addEmail("ops@example.org").agreeToTermsOfService().useKeyPair(key);
        if (options.containsKey("kid")) {
            account.withKeyIdentifier(options.get("kid"), options.get("hmac"));
        }
        return account.createLogin(session);
    }

    private void issue(OrderBuilder builder) throws AcmeException, IOException, InterruptedException {
        Duration timeout = Duration.ofSeconds(Long.parseLong(options.get("timeout")));
        builder.domains(names);
        if (options.containsKey("profile")) {
            builder.profile(options.get("profile"));
        }
        Order order = builder.create();
        for (Authorization authorization : order.getAuthorizations()) {
            if (authorization.getStatus() == Status.VALID) {
                continue;
            }
            authorization.findChallenge(Http01Challenge.class).orElseThrow().trigger();
            if (authorization.waitForCompletion(timeout) != Status.VALID) {
                throw new IllegalStateException("authorization is " + authorization.getStatus());
            }
        }
        order.waitUntilReady(timeout);
        order.execute(keyPair(out("key.pem")));
        if (order.waitForCompletion(timeout) != Status.VALID) {
            throw new IllegalStateException("order is " + order.getStatus() + order.getError().map(e -> ": " + e).orElse(""));
        }
        try (var writer = Files.newBufferedWriter(out("chain.pem"))) {
            order.getCertificate().writeCertificate(writer);
        }
    }

    private Path out(String name) {
        return Path.of(options.get("out"), name);
    }

    private X509Certificate leaf() throws IOException, GeneralSecurityException {
        try (var in = Files.newInputStream(out("chain.pem"))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static KeyPair keyPair(Path path) throws IOException {
        if (Files.exists(path)) {
            try (var reader = Files.newBufferedReader(path)) {
                return KeyPairUtils.readKeyPair(reader);
            }
        }
        KeyPair key = KeyPairUtils.createECKeyPair("secp256r1");
        save(key, path);
        return key;
    }

    private static void save(KeyPair key, Path path) throws IOException {
        try (var writer = Files.newBufferedWriter(path)) {
            KeyPairUtils.writeKeyPair(key, writer);
        }
    }

    private static void trust(Path pem) throws IOException, GeneralSecurityException {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (var in = Files.newInputStream(pem)) {
            roots.setCertificateEntry("hub", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        SSLContext.setDefault(context);
    }
}
