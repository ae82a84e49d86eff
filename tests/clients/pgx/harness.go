package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const driver = "github.com/jackc/pgx/v5"

// worker says which of several processes this is: it has tables of its own, under the same statement names.
var worker, _ = strconv.Atoi(os.Getenv("CLIENT_WORKER"))

// isRefusing says whether the server is one that refuses by name what needs a session.
var isRefusing = os.Getenv("CLIENT_REFUSES") == "1"

// A feature returns a detail worth telling, or the error that surprised it.
type feature struct {
	name    string
	attempt func(context.Context) (string, error)
}

// refusal is the error by which a server refused what needs a session, as it should.
type refusal struct{ *pgconn.PgError }

// run tries the features and says how each went: one line of JSON for each. It returns the exit code.
func run(features []feature) int {
	say(map[string]string{"driver": "pgx", "version": version()})
	status := 0
	for _, one := range features {
		detail, err := within(one.attempt)
		line := map[string]string{"feature": one.name, "outcome": "passed", "detail": detail}
		if refused := (refusal{}); errors.As(err, &refused) {
			line["outcome"], line["detail"] = "refused", refused.Code+" "+refused.Message
		} else if err != nil {
			line["outcome"], line["detail"] = "failed", err.Error()
			status = 1
		}
		say(line)
	}
	return status
}

func within(attempt func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), featureTime())
	defer cancel()
	return attempt(ctx)
}

func featureTime() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv("CLIENT_SECONDS")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 20 * time.Second
}

func say(line map[string]string) {
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

// version is that of the driver this program was built with.
func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == driver {
			return module.Version
		}
	}
	return ""
}

// needsSession uses what needs a session of its own: it works, or is refused by name.
func needsSession(use func() error) (string, error) {
	err := use()
	if !isRefusing {
		return "", err
	}
	if err := expectCode("0A000", err); err != nil {
		return "", err
	}
	found := &pgconn.PgError{}
	errors.As(err, &found)
	return "", refusal{found}
}

// expectCode is nil if err is the server's error of this SQLSTATE.
func expectCode(code string, err error) error {
	found := &pgconn.PgError{}
	if errors.As(err, &found) && found.Code == code {
		return nil
	}
	return fmt.Errorf("expected an error %s, got %v", code, err)
}

func expectEqual(expected, got any) error {
	if reflect.DeepEqual(expected, got) {
		return nil
	}
	return fmt.Errorf("expected %v, got %v", expected, got)
}

// all returns the first error of steps that are done one after the other.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// atOnce runs as many functions at the same time, and returns the first error.
func atOnce(count int, do func(n int) error) error {
	results := make(chan error, count)
	for n := 0; n < count; n++ {
		go func(n int) { results <- do(n) }(n)
	}
	var first error
	for n := 0; n < count; n++ {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func label(id int) string {
	return fmt.Sprintf("%d:%d", worker, id)
}
