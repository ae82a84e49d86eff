import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs the features of the driver and says how each went: one line of JSON for each. */
final class Harness {
    /** Which of several processes this is: it has tables of its own, under the same statement names. */
    static final int WORKER = Integer.parseInt(System.getenv().getOrDefault("CLIENT_WORKER", "0"));

    private static final boolean IS_REFUSING = "1".equals(System.getenv("CLIENT_REFUSES"));
    private static final int FEATURE_SECONDS =
            Integer.parseInt(System.getenv().getOrDefault("CLIENT_SECONDS", "20"));

    private static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    private boolean hasFailed;

    private Harness() {}

    /** A feature returns a detail worth telling, or throws what surprised it. */
    interface Feature {
        String attempt() throws Exception;
    }

    interface Use {
        void run() throws Exception;
    }

    interface Numbered {
        void run(int number) throws Exception;
    }

    /** The error by which a server refused what needs a session, as it should. */
    private static final class Refusal extends Exception {
        private static final long serialVersionUID = 1L;

        Refusal(SQLException error) {
            // Without the hint, which the driver puts on lines of its own.
            super(describe(error).lines().findFirst().orElseThrow());
        }
    }

    static Harness start(String driver, String version) {
        System.out.printf("{\"driver\": %s, \"version\": %s}%n", quote(driver), quote(version));
        return new Harness();
    }

    Harness feature(String name, Feature feature) throws InterruptedException {
        Future<String> result = THREADS.submit(feature::attempt);
        try {
            String detail = result.get(FEATURE_SECONDS, TimeUnit.SECONDS);
            say(name, "passed", detail);
        } catch (TimeoutException error) {
            hasFailed = true;
            say(name, "failed", "no answer within " + FEATURE_SECONDS + " s");
        } catch (ExecutionException error) {
            if (error.getCause() instanceof Refusal refusal) {
                say(name, "refused", refusal.getMessage());
            } else {
                hasFailed = true;
                say(name, "failed", describe(error.getCause()));
            }
        }
        return this;
    }

    int status() {
        return hasFailed ? 1 : 0;
    }

    /** Uses what needs a session of its own: it works, or is refused by name. */
    static void needsSession(Use use) throws Exception {
        if (IS_REFUSING) {
            throw new Refusal(expectError("0A000", use));
        }
        use.run();
    }

    static SQLException expectError(String state, Use use) throws Exception {
        try {
            use.run();
        } catch (SQLException error) {
            if (state.equals(error.getSQLState())) {
                return error;
            }
            throw error;
        }
        throw new AssertionError("an error " + state + " was expected, and none came");
    }

    static void expectEqual(Object expected, Object got) {
        if (!Objects.deepEquals(expected, got)) {
            throw new AssertionError("expected " + expected + ", got " + got);
        }
    }

    /** Runs as many at the same time; throws what the first that failed threw. */
    static void atOnce(int count, Numbered task) throws Exception {
        List<Future<?>> futures = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            int own = number;
            Callable<Void> callable = () -> {
                task.run(own);
                return null;
            };
            futures.add(THREADS.submit(callable));
        }
        for (Future<?> future : futures) {
            try {
                future.get();
            } catch (ExecutionException error) {
                throw error.getCause() instanceof Exception cause ? cause : error;
            }
        }
    }

    static String label(int id) {
        return WORKER + ":" + id;
    }

    private static void say(String feature, String outcome, String detail) {
        System.out.printf(
                "{\"feature\": %s, \"outcome\": %s, \"detail\": %s}%n", quote(feature), quote(outcome), quote(detail));
    }

    private static String describe(Throwable error) {
        String state = error instanceof SQLException sql ? sql.getSQLState() + " " : "";
        return state + (error.getMessage() == null ? error.toString() : error.getMessage());
    }

    private static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char character : text.toCharArray()) {
            if (character == '"' || character == '\\') {
                quoted.append('\\').append(character);
            } else {
                quoted.append(character < ' ' ? ' ' : character);
            }
        }
        return quoted.append('"').toString();
    }
}
