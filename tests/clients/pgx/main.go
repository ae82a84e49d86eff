// Command client uses pgx as people do: its pool, with prepared statements cached by default.
//
// The login comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, which the driver reads by itself.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

var table = fmt.Sprintf("pgx_%d", worker)

func main() {
	os.Exit(run([]feature{
		{"values", pooled(values)},
		{"prepared statements", pooled(preparedStatements)},
		{"transactions", pooled(transactions)},
		{"errors", pooled(serverErrors)},
		{"batch", pooled(batch)},
		{"cursor", pooled(cursor)},
		{"COPY", pooled(copying)},
		{"schema change", pooled(schemaChange)},
		{"cancellation", pooled(cancellation)},
		{"settings at connect", pooled(settingsAtConnect)},
		{"SET", pooled(settingsLater)},
		{"LISTEN", pooled(listen)},
		{"advisory lock", pooled(advisoryLock)},
		{"temporary table", pooled(temporaryTable)},
	}))
}

type pool = *pgxpool.Pool

// pooled gives a feature a pool of its own.
func pooled(use func(context.Context, pool) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		db, err := connect(ctx, func(*pgxpool.Config) {})
		if err != nil {
			return "", err
		}
		// Not awaited: it waits for connections that a failed feature did not give back.
		defer func() { go db.Close() }()
		return use(ctx, db)
	}
}

func connect(ctx context.Context, configure func(*pgxpool.Config)) (pool, error) {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.MaxConns = 4
	configure(config)
	return pgxpool.NewWithConfig(ctx, config)
}

func execute(ctx context.Context, db interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, sql string, arguments ...any) error {
	_, err := db.Exec(ctx, sql, arguments...)
	return err
}

func fill(ctx context.Context, db pool, count int) error {
	return all(
		func() error { return execute(ctx, db, "drop table if exists "+table) },
		func() error { return execute(ctx, db, "create table "+table+" (id int primary key, label text)") },
		func() error {
			return execute(ctx, db,
				"insert into "+table+" select g, $1 || ':' || g from generate_series(0, $2::int - 1) g", fmt.Sprint(worker), count)
		},
	)
}

// one is the single value of a row.
func one[T any](ctx context.Context, db querier, sql string, arguments ...any) (T, error) {
	var value T
	err := db.QueryRow(ctx, sql, arguments...).Scan(&value)
	return value, err
}

type querier interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}

// expect asks for a single value.
func expect[T any](ctx context.Context, db querier, expected T, sql string, arguments ...any) error {
	value, err := one[T](ctx, db, sql, arguments...)
	if err != nil {
		return err
	}
	return expectEqual(expected, value)
}

func values(ctx context.Context, db pool) (string, error) {
	when := time.Date(2024, 2, 29, 12, 34, 56, 789000000, time.UTC)
	object := map[string]any{"a": []any{1.0, nil}, "ž": "x"}
	sql := `select $1::int, $2::bigint, $3::text, $4::bool, $5::timestamptz, $6::numeric, $7::jsonb, $8::int[], $9::text[],
		$10::text, $11::bytea`
	for round := 0; round < 3; round++ {
		var (
			small   int32
			big     int64
			text    string
			truth   bool
			instant time.Time
			number  pgtype.Numeric
			json    map[string]any
			ints    []int32
			texts   []*string
			nothing *string
			raw     []byte
		)
		quoted := `b,"c"`
		given := []*string{&quoted, nil}
		precise := pgtype.Numeric{}
		if err := precise.Scan("12345678901234567890.0123456789"); err != nil {
			return "", err
		}
		err := db.QueryRow(ctx, sql, 42, int64(9007199254740993), "žluť 🐘", true, when, precise, object, []int32{1, 2, 3}, given, nil,
			[]byte{0, 255}).Scan(&small, &big, &text, &truth, &instant, &number, &json, &ints, &texts, &nothing, &raw)
		if err != nil {
			return "", err
		}
		instant = instant.UTC()
		expected := []any{int32(42), int64(9007199254740993), "žluť 🐘", true, when, precise, object, []int32{1, 2, 3}, given,
			(*string)(nil), []byte{0, 255}}
		got := []any{small, big, text, truth, instant, number, json, ints, texts, nothing, raw}
		if err := expectEqual(expected, got); err != nil {
			return "", err
		}
	}
	return "", nil
}

func preparedStatements(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 300); err != nil {
		return "", err
	}
	err := atOnce(4, func(n int) error {
		for id := n; id < 1000; id += 4 {
			err := all(
				func() error {
					return expect(ctx, db, label(id%300), "select label from "+table+" where id = $1", id%300)
				},
				// The same text in every process, and so the same name.
				func() error {
					return expect(ctx, db, int32(id+worker), "select $1::int + $2::int", id, worker)
				},
				func() error {
					return expect(ctx, db, int32(id%300), "select id from "+table+" where label = $1", label(id%300))
				},
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return "3000 of 3000", err
}

func transactions(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 0); err != nil {
		return "", err
	}
	insert := "insert into " + table + " values ($1, $2)"
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		return all(
			func() error { return execute(ctx, tx, insert, 1, "kept") },
			func() error {
				return pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return execute(ctx, inner, insert, 2, "kept too") })
			},
			func() error {
				return expectCode("23505", pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return execute(ctx, inner, insert, 1, "again") }))
			},
		)
	})
	if err != nil {
		return "", err
	}
	leaving := errors.New("leaving")
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if err := execute(ctx, tx, insert, 3, "undone"); err != nil {
			return err
		}
		return leaving
	})
	if err != leaving {
		return "", fmt.Errorf("expected the transaction to be left, got %w", err)
	}
	err = atOnce(40, func(n int) error {
		return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
			return all(
				func() error { return execute(ctx, tx, insert, 100+n, label(n)) },
				func() error { return expect(ctx, tx, label(n), "select label from "+table+" where id = $1", 100+n) },
				func() error {
					return expect(ctx, tx, "repeatable read", "select current_setting('transaction_isolation')")
				},
			)
		})
	})
	if err != nil {
		return "", err
	}
	return "", expect(ctx, db, int64(42), "select count(*) from "+table)
}

func serverErrors(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 3); err != nil {
		return "", err
	}
	for round := 0; round < 5; round++ {
		err := all(
			func() error { return expectCode("22012", execute(ctx, db, "select 1 / $1::int", 0)) },
			func() error { return expectCode("42601", execute(ctx, db, "selec $1", 0)) },
			func() error {
				return expectCode("42P01", execute(ctx, db, "select * from missing_table where id = $1", 1))
			},
			func() error {
				tx, err := db.Begin(ctx)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback(ctx) }()
				return all(
					func() error { return execute(ctx, tx, "update "+table+" set label = 'changed' where id = $1", 1) },
					func() error {
						return expectCode("23505", execute(ctx, tx, "insert into "+table+" values ($1, $2)", 1, "again"))
					},
					func() error { return expectCode("25P02", execute(ctx, tx, "select $1::int", 1)) },
					func() error {
						if err := tx.Commit(ctx); err != pgx.ErrTxCommitRollback {
							return fmt.Errorf("expected a commit that rolls back, got %w", err)
						}
						return nil
					},
				)
			},
			func() error { return expect(ctx, db, label(1), "select label from "+table+" where id = $1", 1) },
		)
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

func batch(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 200); err != nil {
		return "", err
	}
	for round := 0; round < 3; round++ {
		burst := &pgx.Batch{}
		for id := 0; id < 200; id++ {
			burst.Queue("select label from "+table+" where id = $1", id)
			burst.Queue("select $1::int + $2::int", id, worker)
		}
		results := db.SendBatch(ctx, burst)
		for id := 0; id < 200; id++ {
			var text string
			var sum int
			if err := results.QueryRow().Scan(&text); err != nil {
				return "", err
			}
			if err := results.QueryRow().Scan(&sum); err != nil {
				return "", err
			}
			if err := expectEqual([]any{label(id), id + worker}, []any{text, sum}); err != nil {
				return "", err
			}
		}
		if err := results.Close(); err != nil {
			return "", err
		}
	}
	// A batch is one transaction: the error undoes what came before it.
	failing := &pgx.Batch{}
	failing.Queue("insert into "+table+" values ($1, $2)", 1000, "undone")
	failing.Queue("insert into "+table+" values ($1, $2)", 1, "again")
	failing.Queue("insert into "+table+" values ($1, $2)", 1001, "never")
	return "", all(
		func() error { return expectCode("23505", db.SendBatch(ctx, failing).Close()) },
		func() error { return expect(ctx, db, int64(200), "select count(*) from "+table) },
	)
}

func cursor(ctx context.Context, db pool) (string, error) {
	return "", pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if err := execute(ctx, tx, "declare c cursor for select g from generate_series(1, 1000) g"); err != nil {
			return err
		}
		for first := int32(1); first <= 1000; first += 50 {
			rows, err := tx.Query(ctx, "fetch 50 from c")
			if err != nil {
				return err
			}
			found, err := pgx.CollectRows(rows, pgx.RowTo[int32])
			if err != nil {
				return err
			}
			if len(found) != 50 || found[0] != first || found[49] != first+49 {
				return fmt.Errorf("expected 50 rows from %d, got %v", first, found)
			}
		}
		return execute(ctx, tx, "close c")
	})
}

func copying(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 0); err != nil {
		return "", err
	}
	count, err := db.CopyFrom(ctx, pgx.Identifier{table}, []string{"id", "label"}, pgx.CopyFromSlice(5000, func(id int) ([]any, error) {
		return []any{id, label(id)}, nil
	}))
	if err != nil {
		return "", err
	}
	lines := strings.Builder{}
	for id := 0; id < 5000; id++ {
		fmt.Fprintf(&lines, "%d\t%s\n", id, label(id))
	}
	connection, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	out := bytes.Buffer{}
	return "", all(
		func() error { return expectEqual(int64(5000), count) },
		func() error {
			_, err := connection.Conn().PgConn().CopyTo(ctx, &out, "copy (select * from "+table+" order by id) to stdout")
			return err
		},
		func() error { return expectEqual(lines.String(), out.String()) },
		func() error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{table}, []string{"id", "label"}, pgx.CopyFromRows([][]any{{1, "again"}}))
			return expectCode("23505", err)
		},
		func() error { return expect(ctx, db, int64(5000), "select count(*) from "+table) },
	)
}

// schemaChange: the driver forgets a statement that failed with 0A000, and is right from the next execution on.
func schemaChange(ctx context.Context, db pool) (string, error) {
	if err := fill(ctx, db, 2); err != nil {
		return "", err
	}
	connection, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	said := ""
	holds := func(expected ...any) error {
		var got []any
		var err error
		for attempt := 0; attempt < 2; attempt++ {
			var rows pgx.Rows
			if rows, err = connection.Query(ctx, "select * from "+table+" where id = $1", 1); err == nil {
				got, err = pgx.CollectOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
			}
			if err == nil {
				return expectEqual(expected, got)
			}
			said = "first " + err.Error() + ", then the new rows"
			if err := expectCode("0A000", err); err != nil {
				return err
			}
		}
		return err
	}
	alter := func(change string) func() error {
		return func() error { return execute(ctx, db, "alter table "+table+" "+change) }
	}
	err = all(
		func() error { return holds(int32(1), label(1)) },
		alter("add column more int default 5"),
		func() error { return holds(int32(1), label(1), int32(5)) },
		alter("alter column more type text using '5005'"),
		func() error { return holds(int32(1), label(1), "5005") },
		alter("drop column label"),
		func() error { return holds(int32(1), "5005") },
	)
	return said, err
}

func cancellation(ctx context.Context, db pool) (string, error) {
	return "", atOnce(4, func(n int) error {
		limited, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := execute(limited, db, "select pg_sleep($1)", 60)
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("expected the deadline to end it, got %w", err)
		}
		if time.Since(begun) > 10*time.Second {
			return errors.New("the deadline was kept late")
		}
		return expect(ctx, db, int32(n), "select $1::int", n)
	})
}

func settingsAtConnect(ctx context.Context, db pool) (string, error) {
	if err := execute(ctx, db, "create schema if not exists "+table+"_schema"); err != nil {
		return "", err
	}
	set, err := connect(ctx, func(config *pgxpool.Config) {
		parameters := config.ConnConfig.RuntimeParams
		parameters["application_name"] = fmt.Sprintf("app %d", worker)
		parameters["search_path"] = table + "_schema, public"
		parameters["statement_timeout"] = "700"
		parameters["work_mem"] = "7MB"
	})
	if err != nil {
		return "", err
	}
	defer func() { go set.Close() }()
	expected := fmt.Sprintf("%s_schema app %d 700ms 7MB", table, worker)
	sql := `select concat_ws(' ', current_schema(), current_setting('application_name'), current_setting('statement_timeout'),
		current_setting('work_mem')) where $1 = $1::int`
	err = atOnce(4, func(n int) error {
		for round := 0; round < 20; round++ {
			if err := expect(ctx, set, expected, sql, round); err != nil {
				return err
			}
		}
		return nil
	})
	return "", all(
		func() error { return err },
		func() error { return expectCode("57014", execute(ctx, set, "select pg_sleep($1)", 30)) },
		func() error { return expect(ctx, db, "0", "select current_setting('statement_timeout')") },
		func() error { return expect(ctx, db, "4MB", "select current_setting('work_mem')") },
	)
}

func settingsLater(ctx context.Context, db pool) (string, error) {
	mine, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer mine.Release()
	other, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer other.Release()
	err = all(
		func() error { return execute(ctx, mine, "set work_mem = '9MB'") },
		func() error {
			return execute(ctx, mine, "select set_config('app.worker', $1, false)", fmt.Sprint(worker))
		},
	)
	for round := 0; round < 30 && err == nil; round++ {
		err = all(
			func() error { return expect(ctx, mine, "9MB", "select current_setting('work_mem')") },
			func() error { return expect(ctx, mine, fmt.Sprint(worker), "select current_setting('app.worker')") },
			func() error { return expect(ctx, other, "4MB", "select current_setting('work_mem')") },
		)
	}
	return "", all(
		func() error { return err },
		func() error { return execute(ctx, mine, "reset work_mem") },
		func() error { return expect(ctx, mine, "4MB", "show work_mem") },
	)
}

func listen(ctx context.Context, db pool) (string, error) {
	connection, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	return needsSession(func() error {
		channel := fmt.Sprintf("channel_%d", worker)
		if err := execute(ctx, connection, "listen "+channel); err != nil {
			return err
		}
		if err := execute(ctx, db, "select pg_notify($1, 'hello')", channel); err != nil {
			return err
		}
		notification, err := connection.Conn().WaitForNotification(ctx)
		if err != nil {
			return err
		}
		return expectEqual("hello", notification.Payload)
	})
}

func advisoryLock(ctx context.Context, db pool) (string, error) {
	connection, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	return needsSession(func() error {
		if err := execute(ctx, connection, "select pg_advisory_lock($1)", 3000+worker); err != nil {
			return err
		}
		return expect(ctx, connection, true, "select pg_advisory_unlock($1)", 3000+worker)
	})
}

func temporaryTable(ctx context.Context, db pool) (string, error) {
	connection, err := db.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	return needsSession(func() error {
		return all(
			func() error { return execute(ctx, connection, "create temp table things (a int)") },
			func() error { return execute(ctx, connection, "insert into things values ($1)", worker) },
			func() error { return expect(ctx, connection, int32(worker), "select a from things") },
		)
	})
}
