import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.DriverInfo;
import org.postgresql.util.PGobject;

/**
 * PgJDBC as people use it: a statement that was executed five times is prepared on the server, as by default.
 *
 * <p>The login comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
 */
public final class Client {
    private static final int WORKER = Harness.WORKER;
    private static final String TABLE = "pgjdbc_" + WORKER;

    private Client() {}

    public static void main(String[] arguments) throws Exception {
        int status = Harness.start("PgJDBC", DriverInfo.DRIVER_VERSION)
                .feature("values", Client::values)
                .feature("prepared statements", Client::preparedStatements)
                .feature("transactions", Client::transactions)
                .feature("errors", Client::errors)
                .feature("batch", () -> batch(false) + batch(true))
                .feature("cursor", Client::cursor)
                .feature("COPY", Client::copy)
                .feature("schema change", Client::schemaChange)
                .feature("cancellation", Client::cancellation)
                .feature("settings at connect", Client::settingsAtConnect)
                .feature("SET", Client::settingsLater)
                .feature("LISTEN", Client::listen)
                .feature("advisory lock", Client::advisoryLock)
                .feature("temporary table", Client::temporaryTable)
                .status();
        // Threads of features that had no answer are left behind.
        Runtime.getRuntime().halt(status);
    }

    /** Connects; `options` are pairs of PgJDBC's own properties. */
    private static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        for (int index = 0; index < options.length; index += 2) {
            properties.setProperty(options[index], options[index + 1]);
        }
        String address = System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + address, properties);
    }

    private static void execute(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            set(statement, parameters);
            statement.execute();
        }
    }

    private static void set(PreparedStatement statement, Object... parameters) throws SQLException {
        for (int index = 0; index < parameters.length; index++) {
            statement.setObject(index + 1, parameters[index]);
        }
    }

    /** The single row of the result, as a list. */
    private static List<Object> row(PreparedStatement statement, Object... parameters) throws SQLException {
        set(statement, parameters);
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            Object[] values = new Object[rows.getMetaData().getColumnCount()];
            for (int index = 0; index < values.length; index++) {
                values[index] = rows.getObject(index + 1);
            }
            return Arrays.asList(values);
        }
    }

    private static List<Object> row(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            return row(statement, parameters);
        }
    }

    private static void expect(Connection connection, String sql, Object... values) throws SQLException {
        Harness.expectEqual(Arrays.asList(values), row(connection, sql));
    }

    private static void fill(Connection connection, int count) throws SQLException {
        execute(connection, "drop table if exists " + TABLE);
        execute(connection, "create table " + TABLE + " (id int primary key, label text)");
        execute(connection, "insert into " + TABLE + " select g, ? || ':' || g from generate_series(0, ? - 1) g",
                String.valueOf(WORKER), count);
    }

    private static String values() throws SQLException {
        OffsetDateTime when = OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 789000000, ZoneOffset.UTC);
        BigDecimal number = new BigDecimal("12345678901234567890.0123456789");
        PGobject json = new PGobject();
        json.setType("jsonb");
        json.setValue("{\"a\": [1, null], \"ž\": \"x\"}");
        Object[] ints = {1, 2, 3};
        Object[] texts = {"a", "b,\"c\"", null};
        byte[] raw = {0, -1};
        String sql = "select ?::int, ?::bigint, ?::text, ?::bool, ?::timestamptz, ?::numeric, ?::jsonb, ?::int[],"
                + " ?::text[], ?::text, ?::bytea";
        try (Connection connection = connect(); PreparedStatement statement = connection.prepareStatement(sql)) {
            // From the fifth execution on it is prepared on the server, and its results are binary.
            for (int round = 0; round < 10; round++) {
                set(statement, 42, 9007199254740993L, "žluť 🐘", true, when, number, json);
                statement.setArray(8, connection.createArrayOf("int4", ints));
                statement.setArray(9, connection.createArrayOf("text", texts));
                statement.setNull(10, Types.VARCHAR);
                statement.setBytes(11, raw);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    Harness.expectEqual(42, rows.getInt(1));
                    Harness.expectEqual(9007199254740993L, rows.getLong(2));
                    Harness.expectEqual("žluť 🐘", rows.getString(3));
                    Harness.expectEqual(true, rows.getBoolean(4));
                    Harness.expectEqual(when, rows.getObject(5, OffsetDateTime.class));
                    Harness.expectEqual(number, rows.getBigDecimal(6));
                    Harness.expectEqual(json.getValue(), rows.getString(7));
                    Harness.expectEqual(ints, array(rows.getArray(8)));
                    Harness.expectEqual(texts, array(rows.getArray(9)));
                    Harness.expectEqual(null, rows.getString(10));
                    Harness.expectEqual(raw, rows.getBytes(11));
                }
            }
        }
        return "";
    }

    private static Object[] array(Array array) throws SQLException {
        return (Object[]) array.getArray();
    }

    private static String preparedStatements() throws Exception {
        try (Connection connection = connect()) {
            fill(connection, 300);
        }
        Harness.atOnce(4, number -> {
            try (Connection connection = connect();
                    PreparedStatement byId = connection.prepareStatement("select label from " + TABLE + " where id = ?");
                    PreparedStatement sum = connection.prepareStatement("select ? + " + WORKER);
                    PreparedStatement byLabel =
                            connection.prepareStatement("select id from " + TABLE + " where label = ?")) {
                for (int id = 0; id < 300; id++) {
                    Harness.expectEqual(List.of(Harness.label(id)), row(byId, id));
                    Harness.expectEqual(List.of(id + WORKER), row(sum, id));
                    Harness.expectEqual(List.of(id), row(byLabel, Harness.label(id)));
                }
            }
        });
        return "3600 of 3600";
    }

    private static String transactions() throws Exception {
        try (Connection connection = connect()) {
            fill(connection, 0);
            String insert = "insert into " + TABLE + " values (?, ?)";
            connection.setAutoCommit(false);
            execute(connection, insert, 1, "kept");
            Savepoint savepoint = connection.setSavepoint();
            Harness.expectError("23505", () -> execute(connection, insert, 1, "again"));
            Harness.expectError("25P02", () -> row(connection, "select 1"));
            connection.rollback(savepoint);
            Savepoint named = connection.setSavepoint("named");
            execute(connection, insert, 2, "kept too");
            connection.releaseSavepoint(named);
            connection.commit();
            execute(connection, insert, 3, "undone");
            connection.rollback();
            for (int number = 100; number < 140; number++) {
                execute(connection, insert, number, Harness.label(number));
                Harness.expectEqual(List.of(Harness.label(number)),
                        row(connection, "select label from " + TABLE + " where id = ?", number));
                connection.commit();
            }
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            for (int round = 0; round < 8; round++) {
                expect(connection, "select current_setting('transaction_isolation')", "repeatable read");
                connection.commit();
            }
            connection.setReadOnly(true);
            Harness.expectError("25006", () -> execute(connection, insert, 4, "read only"));
            connection.rollback();
            connection.setReadOnly(false);
            expect(connection, "select count(*) from " + TABLE, 42L);
        }
        return "";
    }

    private static String errors() throws Exception {
        try (Connection connection = connect();
                PreparedStatement divide = connection.prepareStatement("select 10 / ?")) {
            fill(connection, 3);
            for (int round = 0; round < 8; round++) {
                Harness.expectEqual(List.of(5), row(divide, 2));
                Harness.expectError("22012", () -> row(divide, 0));
                Harness.expectError("42601", () -> execute(connection, "selec ?", 1));
                Harness.expectError("42P01", () -> execute(connection, "select * from missing_table where id = ?", 1));
                connection.setAutoCommit(false);
                execute(connection, "update " + TABLE + " set label = 'changed' where id = ?", 1);
                Harness.expectError("23505", () -> execute(connection, "insert into " + TABLE + " values (?, 'x')", 1));
                Harness.expectError("25P02", () -> row(divide, 2));
                connection.rollback();
                connection.setAutoCommit(true);
                expect(connection, "select label from " + TABLE + " where id = 1", Harness.label(1));
            }
        }
        return "";
    }

    private static String batch(boolean isRewritten) throws Exception {
        try (Connection connection = connect("reWriteBatchedInserts", String.valueOf(isRewritten))) {
            fill(connection, 0);
            for (int round = 0; round < 4; round++) {
                try (PreparedStatement insert =
                        connection.prepareStatement("insert into " + TABLE + " (id, label) values (?, ?)")) {
                    for (int id = round * 300; id < (round + 1) * 300; id++) {
                        set(insert, id, Harness.label(id));
                        insert.addBatch();
                    }
                    int[] counts = insert.executeBatch();
                    Harness.expectEqual(300, counts.length);
                    set(insert, 1300 + round, "new");
                    insert.addBatch();
                    set(insert, 1, "again");
                    insert.addBatch();
                    Harness.expectError("23505", insert::executeBatch);
                }
            }
            expect(connection, "select count(*), count(*) filter (where label = " + WORKER + " || ':' || id) from " + TABLE,
                    1200L, 1200L);
            try (Statement several = connection.createStatement()) {
                several.addBatch("update " + TABLE + " set label = 'x' where id < 5");
                several.addBatch("delete from " + TABLE + " where label = 'x'");
                Harness.expectEqual(new int[] {5, 5}, several.executeBatch());
            }
        }
        return "";
    }

    private static String cursor() throws Exception {
        try (Connection connection = connect();
                PreparedStatement series = connection.prepareStatement("select g from generate_series(1, ?) g")) {
            connection.setAutoCommit(false);
            series.setFetchSize(50);
            for (int round = 0; round < 7; round++) {
                series.setInt(1, 1000);
                try (ResultSet rows = series.executeQuery()) {
                    for (int expected = 1; expected <= 1000; expected++) {
                        rows.next();
                        Harness.expectEqual(expected, rows.getInt(1));
                        if (expected == 70) {
                            expect(connection, "select 7", 7);
                        }
                    }
                    Harness.expectEqual(false, rows.next());
                }
                if (round % 2 == 1) {
                    connection.commit();
                }
            }
        }
        return "";
    }

    private static String copy() throws Exception {
        try (Connection connection = connect()) {
            fill(connection, 0);
            StringBuilder lines = new StringBuilder();
            for (int id = 0; id < 5000; id++) {
                lines.append(id).append('\t').append(Harness.label(id)).append('\n');
            }
            var copies = connection.unwrap(PGConnection.class).getCopyAPI();
            long count = copies.copyIn("copy " + TABLE + " from stdin", new StringReader(lines.toString()));
            Harness.expectEqual(5000L, count);
            StringWriter out = new StringWriter();
            copies.copyOut("copy (select * from " + TABLE + " order by id) to stdout", out);
            Harness.expectEqual(lines.toString(), out.toString());
            Harness.expectError("23505", () -> copies.copyIn("copy " + TABLE + " from stdin", new StringReader("1\tagain\n")));
            expect(connection, "select count(*) from " + TABLE, 5000L);
        }
        return "";
    }

    /** The driver forgets a statement that failed with 0A000, and is right from the next execution on. */
    private static String schemaChange() throws Exception {
        try (Connection connection = connect();
                Connection other = connect();
                PreparedStatement all = connection.prepareStatement("select * from " + TABLE + " where id = ?")) {
            fill(other, 2);
            StringBuilder said = new StringBuilder();
            expectRows(all, said, 1, Harness.label(1));
            execute(other, "alter table " + TABLE + " add column more int default 5");
            expectRows(all, said, 1, Harness.label(1), 5);
            execute(other, "alter table " + TABLE + " alter column more type text using '5005'");
            expectRows(all, said, 1, Harness.label(1), "5005");
            execute(other, "alter table " + TABLE + " drop column label");
            expectRows(all, said, 1, "5005");
            return said.toString();
        }
    }

    private static void expectRows(PreparedStatement statement, StringBuilder said, Object... values) throws SQLException {
        for (int round = 0; round < 8; round++) {
            List<Object> got;
            try {
                got = row(statement, 1);
            } catch (SQLException error) {
                if (!"0A000".equals(error.getSQLState()) || round > 0) {
                    throw error;
                }
                said.setLength(0);
                said.append("first ").append(error.getSQLState()).append(' ').append(error.getMessage());
                said.append(", then the new rows");
                continue;
            }
            Harness.expectEqual(Arrays.asList(values), got);
        }
    }

    private static String cancellation() throws Exception {
        Harness.atOnce(3, number -> {
            try (Connection connection = connect(); Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                long begun = System.nanoTime();
                Harness.expectError("57014", () -> statement.executeQuery("select pg_sleep(60)"));
                Harness.expectEqual(true, System.nanoTime() - begun < 10_000_000_000L);
                Harness.expectEqual(List.of(number), row(connection, "select ?", number));
            }
        });
        return "";
    }

    private static String settingsAtConnect() throws Exception {
        try (Connection connection = connect()) {
            execute(connection, "create schema if not exists " + TABLE + "_schema");
        }
        Harness.atOnce(4, number -> {
            try (Connection connection = connect("ApplicationName", "app " + WORKER, "currentSchema", TABLE + "_schema,public",
                    "options", "-c statement_timeout=700 -c work_mem=7MB")) {
                for (int round = 0; round < 20; round++) {
                    expect(connection, "select current_schema()::text, current_setting('application_name'),"
                            + " current_setting('statement_timeout'), current_setting('work_mem')",
                            TABLE + "_schema", "app " + WORKER, "700ms", "7MB");
                }
                Harness.expectError("57014", () -> execute(connection, "select pg_sleep(30)"));
            }
        });
        try (Connection connection = connect()) {
            expect(connection, "select current_setting('statement_timeout'), current_setting('work_mem')", "0", "4MB");
        }
        return "";
    }

    private static String settingsLater() throws Exception {
        try (Connection one = connect(); Connection other = connect()) {
            execute(one, "create schema if not exists " + TABLE + "_schema");
            execute(one, "set work_mem = '9MB'");
            one.setSchema(TABLE + "_schema");
            one.setClientInfo("ApplicationName", "later " + WORKER);
            for (int round = 0; round < 30; round++) {
                expect(one, "select current_setting('work_mem'), current_schema()::text, current_setting('application_name')",
                        "9MB", TABLE + "_schema", "later " + WORKER);
                expect(other, "select current_setting('work_mem'), current_schema()::text", "4MB", "public");
            }
            execute(one, "reset work_mem");
            expect(one, "show work_mem", "4MB");
        }
        return "";
    }

    private static String listen() throws Exception {
        try (Connection connection = connect(); Connection other = connect()) {
            Harness.needsSession(() -> {
                execute(connection, "listen channel_" + WORKER);
                execute(other, "select pg_notify('channel_" + WORKER + "', 'hello')");
                PGNotification[] heard = connection.unwrap(PGConnection.class).getNotifications(10_000);
                Harness.expectEqual("hello", heard[0].getParameter());
            });
        }
        return "";
    }

    private static String advisoryLock() throws Exception {
        try (Connection connection = connect()) {
            Harness.needsSession(() -> {
                execute(connection, "select pg_advisory_lock(?)", 4000L + WORKER);
                expect(connection, "select pg_advisory_unlock(" + (4000 + WORKER) + ")", true);
            });
        }
        return "";
    }

    private static String temporaryTable() throws Exception {
        try (Connection connection = connect()) {
            Harness.needsSession(() -> {
                execute(connection, "create temp table things (a int)");
                execute(connection, "insert into things values (?)", WORKER);
                expect(connection, "select a from things", WORKER);
            });
        }
        return "";
    }
}
