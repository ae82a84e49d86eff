//! tokio-postgres as people use it: statements prepared once, executed from many futures, pipelined.
//!
//! The login comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.

mod harness;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::{join_all, poll_fn, try_join_all};
use futures_util::{pin_mut, SinkExt, TryStreamExt};
use harness::{
    expect_code, expect_equal, label, needs_session, passed, variable, worker, Error, Harness, Outcome, Verdict,
};
use serde_json::{json, Value};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, IsolationLevel, NoTls};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut harness = Harness::start();
    harness.feature("values", values()).await;
    harness.feature("prepared statements", prepared_statements()).await;
    harness.feature("transactions", transactions()).await;
    harness.feature("errors", errors()).await;
    harness.feature("batch", batch()).await;
    harness.feature("cursor", cursor()).await;
    harness.feature("COPY", copy()).await;
    harness.feature("schema change", schema_change()).await;
    harness.feature("cancellation", cancellation()).await;
    harness.feature("settings at connect", settings_at_connect()).await;
    harness.feature("SET", settings_later()).await;
    harness.feature("LISTEN", listen()).await;
    harness.feature("advisory lock", advisory_lock()).await;
    harness.feature("temporary table", temporary_table()).await;
    std::process::exit(harness.has_failed.into());
}

fn table() -> String {
    format!("tokio_postgres_{}", worker())
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .host(variable("PGHOST", ""))
        .port(variable("PGPORT", "5432").parse().expect("a port"))
        .user(variable("PGUSER", ""))
        .password(variable("PGPASSWORD", ""))
        .dbname(variable("PGDATABASE", ""));
    config
}

/// A connection, and what comes over it unasked.
async fn connect_with(config: &Config) -> Result<(Client, UnboundedReceiver<String>), Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let (sender, notifications) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification.payload().to_owned());
            }
        }
    });
    Ok((client, notifications))
}

async fn connect() -> Result<Client, Error> {
    Ok(connect_with(&config()).await?.0)
}

async fn fill(client: &Client, count: i32) -> Result<(), Error> {
    let table = table();
    client.batch_execute(&format!("drop table if exists {table}; create table {table} (id int primary key, label text)")).await?;
    let insert = format!("insert into {table} select g, $1::text || ':' || g from generate_series(0, $2::int - 1) g");
    client.execute(&insert, &[&worker().to_string(), &count]).await?;
    Ok(())
}

async fn values() -> Outcome {
    let client = connect().await?;
    let when: DateTime<Utc> = "2024-02-29T12:34:56.789Z".parse()?;
    let (big, object) = (9007199254740993i64, json!({"a": [1, null], "ž": "x"}));
    let (ints, texts) = (vec![1, 2, 3], vec![Some("a".to_owned()), Some("b,\"c\"".to_owned()), None]);
    let (number, nothing, raw) = ("12345678901234567890.0123456789", None::<String>, vec![0u8, 255]);
    let statement = client
        .prepare(
            "select $1::int, $2::bigint, $3::text, $4::bool, $5::timestamptz, $6::text::numeric::text, $7::jsonb,
             $8::int[], $9::text[], $10::text, $11::bytea",
        )
        .await?;
    for _ in 0..3 {
        let row = client
            .query_one(
                &statement,
                &[&42, &big, &"žluť 🐘", &true, &when, &number, &object, &ints, &texts, &nothing, &raw],
            )
            .await?;
        expect_equal(42, row.get::<_, i32>(0))?;
        expect_equal(big, row.get(1))?;
        expect_equal("žluť 🐘", row.get(2))?;
        expect_equal(true, row.get(3))?;
        expect_equal(when, row.get(4))?;
        expect_equal(number, row.get(5))?;
        expect_equal(&object, &row.get::<_, Value>(6))?;
        expect_equal(&ints, &row.get(7))?;
        expect_equal(&texts, &row.get(8))?;
        expect_equal(&nothing, &row.get(9))?;
        expect_equal(&raw, &row.get(10))?;
    }
    passed()
}

/// Statements of several connections, all called `s0`, `s1`, ... by processes that know nothing of each other.
async fn prepared_statements() -> Outcome {
    fill(&connect().await?, 300).await?;
    let connections = (0..4).map(|_| async {
        let client = connect().await?;
        let by_id = client.prepare(&format!("select label from {} where id = $1", table())).await?;
        let sum = client.prepare(&format!("select $1::int + {}", worker())).await?;
        let by_label = client.prepare(&format!("select id from {} where label = $1", table())).await?;
        for id in 0..300 {
            expect_equal(label(id), client.query_one(&by_id, &[&id]).await?.get(0))?;
            expect_equal(id + worker(), client.query_one(&sum, &[&id]).await?.get(0))?;
            expect_equal(id, client.query_one(&by_label, &[&label(id)]).await?.get(0))?;
        }
        Ok::<_, Error>(())
    });
    try_join_all(connections).await?;
    Ok(Verdict::Passed("3600 of 3600".into()))
}

async fn transactions() -> Outcome {
    let mut client = connect().await?;
    fill(&client, 0).await?;
    let insert = client.prepare(&format!("insert into {} values ($1, $2)", table())).await?;
    let select = client.prepare(&format!("select label from {} where id = $1", table())).await?;
    let mut outer = client.transaction().await?;
    outer.execute(&insert, &[&1, &"kept"]).await?;
    let inner = outer.savepoint("point").await?;
    expect_code(SqlState::UNIQUE_VIOLATION, inner.execute(&insert, &[&1, &"again"]).await)?;
    inner.rollback().await?;
    let inner = outer.transaction().await?;
    inner.execute(&insert, &[&2, &"kept too"]).await?;
    inner.commit().await?;
    outer.commit().await?;
    let undone = client.transaction().await?;
    undone.execute(&insert, &[&3, &"undone"]).await?;
    undone.rollback().await?;
    // Dropped without a word: the driver rolls it back by itself.
    client.transaction().await?.execute(&insert, &[&4, &"dropped"]).await?;
    for id in 100..140 {
        let block = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
        block.execute(&insert, &[&id, &label(id)]).await?;
        expect_equal(label(id), block.query_one(&select, &[&id]).await?.get(0))?;
        let level = block.query_one("show transaction_isolation", &[]).await?;
        expect_equal("repeatable read", level.get(0))?;
        block.commit().await?;
    }
    expect_equal(42i64, client.query_one(&format!("select count(*) from {}", table()), &[]).await?.get(0))?;
    passed()
}

async fn errors() -> Outcome {
    let mut client = connect().await?;
    fill(&client, 3).await?;
    let table = table();
    let divide = client.prepare("select 10 / $1::int").await?;
    for _ in 0..5 {
        expect_equal(5, client.query_one(&divide, &[&2]).await?.get::<_, i32>(0))?;
        expect_code(SqlState::DIVISION_BY_ZERO, client.query(&divide, &[&0]).await)?;
        expect_code(SqlState::SYNTAX_ERROR, client.query("selec $1", &[&1]).await)?;
        expect_code(SqlState::UNDEFINED_TABLE, client.query("select * from missing_table where id = $1", &[&1]).await)?;
        let block = client.transaction().await?;
        block.execute(&format!("update {table} set label = 'changed' where id = $1"), &[&1]).await?;
        let again = block.execute(&format!("insert into {table} values ($1, 'again')"), &[&1]).await;
        expect_code(SqlState::UNIQUE_VIOLATION, again)?;
        expect_code(SqlState::IN_FAILED_SQL_TRANSACTION, block.query(&divide, &[&2]).await)?;
        // The server rolls back instead, and says so.
        block.commit().await?;
        let row = client.query_one(&format!("select label from {table} where id = $1"), &[&1]).await?;
        expect_equal(label(1), row.get(0))?;
    }
    passed()
}

/// Futures that wait at the same time on one connection are pipelined.
async fn batch() -> Outcome {
    let client = connect().await?;
    fill(&client, 200).await?;
    let by_id = client.prepare(&format!("select label from {} where id = $1", table())).await?;
    let divide = client.prepare("select 10 / $1::int").await?;
    for _ in 0..3 {
        let rows = try_join_all((0..200).map(|id| {
            let (client, by_id) = (&client, &by_id);
            async move { client.query_one(by_id, &[&id]).await }
        }));
        for (row, id) in rows.await?.iter().zip(0..) {
            expect_equal(label(id), row.get(0))?;
        }
        let mixed = join_all([2, 0, 5, 0, 1].map(|number| {
            let (client, divide) = (&client, &divide);
            async move { client.query_one(divide, &[&number]).await }
        }));
        let answers = mixed.await.into_iter().map(|answer| answer.ok().map(|row| row.get::<_, i32>(0)));
        expect_equal(vec![Some(5), None, Some(2), None, Some(10)], answers.collect())?;
        // Statements that are prepared, executed and closed in one another's middle.
        let texts = (0..50).map(|n| format!("select {n} + $1::int"));
        let sums = try_join_all(texts.map(|text| {
            let client = &client;
            async move { client.query_one(&text, &[&worker()]).await }
        }));
        for (row, n) in sums.await?.iter().zip(0..) {
            expect_equal(n + worker(), row.get(0))?;
        }
    }
    passed()
}

/// Two portals, read in turn.
async fn cursor() -> Outcome {
    let mut client = connect().await?;
    let series = client.prepare("select g from generate_series(1, $1::int) g").await?;
    let block = client.transaction().await?;
    let (one, other) = (block.bind(&series, &[&500]).await?, block.bind(&series, &[&500]).await?);
    for first in (1..500).step_by(50) {
        for portal in [&one, &other] {
            let rows = block.query_portal(portal, 50).await?;
            let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            expect_equal((first..first + 50).collect(), found)?;
        }
    }
    expect_equal(0, block.query_portal(&one, 50).await?.len())?;
    drop((one, other));
    block.commit().await?;
    passed()
}

async fn copy() -> Outcome {
    let client = connect().await?;
    fill(&client, 0).await?;
    let table = table();
    let lines: String = (0..5000).map(|id| format!("{id}\t{}\n", label(id))).collect();
    let sink = client.copy_in(&format!("copy {table} from stdin")).await?;
    pin_mut!(sink);
    for part in lines.as_bytes().chunks(1000) {
        sink.send(Bytes::copy_from_slice(part)).await?;
    }
    expect_equal(5000, sink.as_mut().finish().await?)?;
    let stream = client.copy_out(&format!("copy (select * from {table} order by id) to stdout")).await?;
    let parts: Vec<Bytes> = stream.try_collect().await?;
    expect_equal(lines.as_bytes(), parts.concat().as_slice())?;
    let failing = client.copy_in(&format!("copy {table} from stdin")).await?;
    pin_mut!(failing);
    failing.send(Bytes::from("1\tagain\n")).await?;
    expect_code(SqlState::UNIQUE_VIOLATION, failing.finish().await)?;
    {
        // Dropped without a word: the driver makes the server forget it.
        let abandoned = client.copy_in(&format!("copy {table} from stdin")).await?;
        pin_mut!(abandoned);
        abandoned.send(Bytes::from("6000\tundone\n")).await?;
    }
    expect_equal(5000i64, client.query_one(&format!("select count(*) from {table}"), &[]).await?.get(0))?;
    passed()
}

/// The driver never prepares a statement anew: it says 0A000, or has the right rows. A new statement is right.
async fn schema_change() -> Outcome {
    let (client, other) = (connect().await?, connect().await?);
    fill(&other, 2).await?;
    let (table, select) = (table(), format!("select * from {} where id = $1", table()));
    let statement = client.prepare(&select).await?;
    expect_equal(label(1), client.query_one(&statement, &[&1]).await?.get(1))?;
    other.batch_execute(&format!("alter table {table} add column more int default 5")).await?;
    let changed = client.query(&statement, &[&1]).await;
    let said = changed.as_ref().err().and_then(|error| error.as_db_error()).map(|error| error.message().to_owned());
    expect_code(SqlState::FEATURE_NOT_SUPPORTED, changed)?;
    expect_equal(5, client.query_one(&select, &[&1]).await?.get::<_, i32>("more"))?;
    let more = client.prepare(&select).await?;
    other.batch_execute(&format!("alter table {table} alter column more type text using '5005'")).await?;
    expect_code(SqlState::FEATURE_NOT_SUPPORTED, client.query(&more, &[&1]).await)?;
    let row = client.query_one(&select, &[&1]).await?;
    expect_equal((label(1).as_str(), "5005"), (row.get("label"), row.get("more")))?;
    Ok(Verdict::Passed(format!("first 0A000 {}, then the new rows", said.unwrap_or_default())))
}

async fn cancellation() -> Outcome {
    let (client, other) = (connect().await?, connect().await?);
    let text = format!("select pg_sleep(60), 'tokio-postgres {}'", worker());
    let cancel = async {
        let running = "select count(*) from pg_stat_activity where query = $1 and state = 'active'";
        while other.query_one(running, &[&text]).await?.get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.cancel_token().cancel_query(NoTls).await?;
        Ok::<_, Error>(())
    };
    let (slept, cancelled) = tokio::join!(client.simple_query(&text), cancel);
    cancelled?;
    expect_code(SqlState::QUERY_CANCELED, slept)?;
    expect_equal(8, client.query_one("select $1::int", &[&8]).await?.get::<_, i32>(0))?;
    passed()
}

async fn settings_at_connect() -> Outcome {
    let plain = connect().await?;
    let schema = format!("{}_schema", table());
    plain.batch_execute(&format!("create schema if not exists {schema}")).await?;
    let mut config = config();
    config
        .application_name(format!("app {}", worker()))
        .options(format!("-c search_path={schema},public -c statement_timeout=700 -c work_mem=7MB"));
    let settings = "select concat_ws(' ', current_schema(), current_setting('application_name'),
        current_setting('statement_timeout'), current_setting('work_mem'))";
    let expected = format!("{schema} app {} 700ms 7MB", worker());
    let connections = (0..4).map(|_| async {
        let (client, _) = connect_with(&config).await?;
        let statement = client.prepare(settings).await?;
        for _ in 0..20 {
            expect_equal(expected.as_str(), client.query_one(&statement, &[]).await?.get(0))?;
        }
        expect_code(SqlState::QUERY_CANCELED, client.execute("select pg_sleep(30)", &[]).await)
    });
    try_join_all(connections).await?;
    expect_equal("0", plain.query_one("show statement_timeout", &[]).await?.get(0))?;
    passed()
}

async fn settings_later() -> Outcome {
    let (one, other) = (connect().await?, connect().await?);
    one.batch_execute("set work_mem = '9MB'").await?;
    one.query("select set_config('app.worker', $1, false)", &[&worker().to_string()]).await?;
    let text = "select current_setting('work_mem'), current_setting('app.worker', true)";
    let (mine, theirs) = (one.prepare(text).await?, other.prepare("select current_setting('work_mem')").await?);
    for _ in 0..30 {
        let row = one.query_one(&mine, &[]).await?;
        expect_equal(("9MB", worker().to_string().as_str()), (row.get(0), row.get(1)))?;
        expect_equal("4MB", other.query_one(&theirs, &[]).await?.get(0))?;
    }
    one.batch_execute("reset work_mem").await?;
    expect_equal("4MB", one.query_one("show work_mem", &[]).await?.get(0))?;
    passed()
}

async fn listen() -> Outcome {
    let (client, mut notifications) = connect_with(&config()).await?;
    let other = connect().await?;
    let channel = format!("channel_{}", worker());
    needs_session(
        async {
            client.batch_execute(&format!("listen {channel}")).await?;
            other.execute("select pg_notify($1, 'hello')", &[&channel]).await?;
            expect_equal(Some("hello".to_owned()), notifications.recv().await)
        }
        .await,
    )
}

async fn advisory_lock() -> Outcome {
    let client = connect().await?;
    let key = i64::from(5000 + worker());
    needs_session(
        async {
            client.execute("select pg_advisory_lock($1)", &[&key]).await?;
            expect_equal(true, client.query_one("select pg_advisory_unlock($1)", &[&key]).await?.get(0))
        }
        .await,
    )
}

async fn temporary_table() -> Outcome {
    let client = connect().await?;
    needs_session(
        async {
            client.batch_execute("create temp table things (a int)").await?;
            client.execute("insert into things values ($1)", &[&worker()]).await?;
            expect_equal(worker(), client.query_one("select a from things", &[]).await?.get::<_, i32>(0))
        }
        .await,
    )
}
