package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const someLog = "0198a000-0000-7000-8000-000000000001"

// fillAccounts makes accounts of n users, and of one more who is not in the log.
func fillAccounts(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	execute(t, pool, `insert into accounts.credentials select n, 'hash ü "' || n, now() - n * interval '1.000001 s' from generate_series(1, $1::int + 1) as n`, n)
	execute(t, pool, `insert into accounts.refresh_families select n, 'root', 'live' || n, now() + interval '1 day', case when n % 2 = 0 then now() end from generate_series(1, $1::int + 1) as n`, n)
	execute(t, pool, `insert into accounts.refresh_tokens select n, 'live' || n, 'root' from generate_series(1, $1::int + 1) as n`, n)
}

// register puts so many users into the log.
func register(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	execute(t, pool, `insert into event_tags select 'user:' || n, 'user.registered', n from generate_series(1, $1::int) as n`, n)
}

func export(t *testing.T, pool *pgxpool.Pool) (string, Counts) {
	t.Helper()
	var file bytes.Buffer
	counts, err := WriteTo(t.Context(), pool, &file, someLog, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return file.String(), counts
}

func read(t *testing.T, pool *pgxpool.Pool, file string) (counts Counts, err error) {
	t.Helper()
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		counts, err = ReadFrom(t.Context(), tx, strings.NewReader(file), someLog)
		return err
	})
	return counts, err
}

// TestAccountsTravel in a file, without those of users whom the log does not have.
// They take the place of those that were there.
func TestAccountsTravel(t *testing.T) {
	const n = 2100 // more than two statements
	from, to := open(t), open(t)
	fillAccounts(t, from, n)
	register(t, to, n)
	execute(t, to, `insert into accounts.credentials values (7, 'old'), (9999, 'old')`)
	file, written := export(t, from)
	if written != (Counts{n + 1, n + 1, n + 1}) {
		t.Errorf("written: %+v", written)
	}
	if !IsFile(strings.NewReader(file)) || IsFile(strings.NewReader("{}")) || IsFile(strings.NewReader("")) {
		t.Error("a file of accounts is not known again")
	}
	stored, err := read(t, to, file)
	if err != nil || stored != (Counts{n, n, n}) {
		t.Fatalf("stored: %+v, %v", stored, err)
	}
	for _, table := range tables {
		var want, got string
		sql := fmt.Sprintf(`select string_agg(t::text, e'\n' order by t) from accounts.%s as t where user_id <= %d`, table, n)
		for pool, text := range map[*pgxpool.Pool]*string{from: &want, to: &got} {
			if err := pool.QueryRow(t.Context(), sql).Scan(text); err != nil {
				t.Fatal(err)
			}
		}
		if want != got || want == "" {
			t.Errorf("%s: the rows differ", table)
		}
		var more int
		if err := to.QueryRow(t.Context(), fmt.Sprintf(`select count(*) from accounts.%s where user_id > %d`, table, n)).Scan(&more); err != nil || more != 0 {
			t.Errorf("%s: %d rows of users who are not in the log, %v", table, more, err)
		}
	}
}

// TestDamagedFilesOfAccounts are refused, and nothing is changed.
func TestDamagedFilesOfAccounts(t *testing.T) {
	pool := open(t)
	fillAccounts(t, pool, 3)
	register(t, pool, 4)
	file, _ := export(t, pool)
	lines := strings.SplitAfter(strings.TrimSuffix(file, "\n"), "\n")
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"empty":             {"", ErrNoAccounts},
		"other":             {"{}\n", ErrNoAccounts},
		"newer":             {strings.Replace(file, `"version":1`, `"version":2`, 1), ErrNoAccounts},
		"of another log":    {strings.Replace(file, someLog, "0198a000-0000-7000-8000-000000000002", 1), ErrOtherLog},
		"header only":       {lines[0], ErrDamaged},
		"without its end":   {strings.Join(lines[:len(lines)-1], ""), ErrDamaged},
		"a line less":       {strings.Replace(file, lines[3], "", 1), ErrDamaged},
		"a line twice":      {strings.Replace(file, lines[3], lines[3]+lines[3], 1), ErrDamaged},
		"a hash altered":    {strings.Replace(file, `hash ü`, `hush ü`, 1), ErrDamaged},
		"cut":               {file[:len(file)-20], ErrDamaged},
		"lines exchanged":   {strings.Join(append(append([]string{lines[0]}, lines[9]), append(lines[1:9:9], lines[10:]...)...), ""), ErrDamaged},
		"something behind":  {file + "{}\n", ErrDamaged},
		"an unknown object": {strings.Replace(file, lines[2], `{"secrets":{}}`+"\n", 1), ErrDamaged},
	} {
		if _, err := read(t, pool, c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := export(t, pool); now[strings.Index(now, "\n"):strings.LastIndex(now, "sha256")] != file[strings.Index(file, "\n"):strings.LastIndex(file, "sha256")] {
			t.Fatalf("%s: accounts have changed", name)
		}
	}
}
