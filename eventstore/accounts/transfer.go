package accounts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// Counts tells how many rows there are of each kind.
type Counts struct {
	Credentials     int64 `json:"credentials"`
	RefreshFamilies int64 `json:"refresh_families"`
	RefreshTokens   int64 `json:"refresh_tokens"`
}

// A file of accounts is NDJSON: a header, then for each row an object with the name of
// its table, as {"credentials":{…}}, and at last an end with the counts and the hash of
// all lines before it, without which the file is not whole.
const (
	fileFormat  = "carelog accounts"
	fileVersion = 1
)

type fileHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Log     string    `json:"log"` // the id of the log that the users are in
	MadeAt  time.Time `json:"made_at"`
}

type fileEnd struct {
	Counts
	SHA256 string `json:"sha256"`
}

// Beginner begins transactions: a pool or a connection of pgx.
type Beginner interface {
	BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
}

// WriteTo writes all accounts, as they are at one moment, in the form that
// [ReadFrom] reads.
func WriteTo(ctx context.Context, db Beginner, w io.Writer, log string, at time.Time) (Counts, error) {
	var counts Counts
	err := pgx.BeginTxFunc(ctx, beginner{db}, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		counts, err = writeAll(ctx, tx, w, fileHeader{Format: fileFormat, Version: fileVersion, Log: log, MadeAt: at.UTC()})
		return err
	})
	return counts, err
}

type beginner struct{ Beginner }

func (b beginner) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := b.Beginner.BeginTx(ctx, options)
	return tx, classify("read accounts", err)
}

func writeAll(ctx context.Context, tx pgx.Tx, w io.Writer, header fileHeader) (Counts, error) {
	sum := sha256.New()
	lines := json.NewEncoder(io.MultiWriter(w, sum))
	lines.SetEscapeHTML(false)
	if err := lines.Encode(header); err != nil {
		return Counts{}, err
	}
	var counts Counts
	for _, table := range tables {
		rows, err := tx.Query(ctx, `select row_to_json(t)::text from accounts.`+table+` as t order by t`)
		if err != nil {
			return Counts{}, classify("read accounts", err)
		}
		var row string
		_, err = pgx.ForEachRow(rows, []any{&row}, func() error {
			*counts.of(table)++
			return lines.Encode(map[string]json.RawMessage{table: json.RawMessage(row)})
		})
		if err != nil {
			return Counts{}, classify("read accounts", err)
		}
	}
	return counts, lines.Encode(map[string]fileEnd{"end": {counts, hex.EncodeToString(sum.Sum(nil))}})
}

// tables in the order in which rows can be stored: tokens refer to families.
var tables = []string{"credentials", "refresh_families", "refresh_tokens"}

func (c *Counts) of(table string) *int64 {
	switch table {
	case "credentials":
		return &c.Credentials
	case "refresh_families":
		return &c.RefreshFamilies
	}
	return &c.RefreshTokens
}

// Errors of reading a file of accounts.
var (
	// ErrNoAccounts: the file holds something else.
	ErrNoAccounts = errors.New("this is no file of accounts that this carelog knows")

	// ErrOtherLog: the accounts are of the users of another log.
	ErrOtherLog = errors.New("the accounts are those of another log")

	// ErrDamaged: the file is not what was written.
	ErrDamaged = errors.New("the file of accounts is damaged or not whole: export the accounts again")
)

// IsFile tells whether the text begins a file of accounts.
func IsFile(r io.Reader) bool {
	var header fileHeader
	return json.NewDecoder(io.LimitReader(r, 4096)).Decode(&header) == nil && header.Format == fileFormat
}

// Check reads a file of accounts to its end. It fails with [ErrNoAccounts],
// [ErrOtherLog] or [ErrDamaged].
func Check(r io.Reader, log string) error {
	in, err := newReader(r, log)
	if err == nil {
		err = in.each(func(string, []json.RawMessage) error { return nil })
	}
	return err
}

// ReadFrom puts accounts in the place of those that are there, in the caller's
// transaction, and answers how many. It leaves out those of users whom the log does not
// have: they registered after it was exported, and others will get their ids. It
// fails as [Check] does, before it changes anything.
func ReadFrom(ctx context.Context, tx pgx.Tx, r io.ReadSeeker, log string) (Counts, error) {
	if err := Check(r, log); err != nil {
		return Counts{}, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return Counts{}, err
	}
	in, err := newReader(r, log)
	if err != nil {
		return Counts{}, err
	}
	if _, err := tx.Exec(ctx, `delete from accounts.refresh_families; delete from accounts.credentials`); err != nil {
		return Counts{}, classify("remove accounts", err)
	}
	var stored Counts
	err = in.each(func(table string, rows []json.RawMessage) error {
		n, err := storeRows(ctx, tx, table, rows)
		*stored.of(table) += n
		return err
	})
	return stored, err
}

// reader reads the lines of a file, and hashes those before the last.
type reader struct {
	lines *bufio.Scanner
	sum   hash.Hash
	held  []byte // the line that is not hashed yet
}

func (r *reader) next() []byte {
	r.sum.Write(r.held)
	if !r.lines.Scan() {
		return nil
	}
	r.held = append(append(r.held[:0], r.lines.Bytes()...), '\n')
	return r.lines.Bytes()
}

// newReader reads the header.
func newReader(r io.Reader, log string) (*reader, error) {
	in := &reader{lines: bufio.NewScanner(r), sum: sha256.New()}
	in.lines.Buffer(nil, 1<<20)
	var header fileHeader
	if json.Unmarshal(in.next(), &header) != nil || header.Format != fileFormat || header.Version != fileVersion {
		return nil, ErrNoAccounts
	}
	if header.Log != log {
		return nil, ErrOtherLog
	}
	return in, nil
}

// handedAtOnce is how many rows go into one statement.
const handedAtOnce = 1000

// each hands on the rows after the header, table by table. It fails with [ErrDamaged]
// when they are not what was written, which is known at the end.
func (r *reader) each(hand func(table string, rows []json.RawMessage) error) error {
	var read Counts
	at, rows := 0, make([]json.RawMessage, 0, handedAtOnce)
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := hand(tables[at], rows)
		rows = rows[:0]
		return err
	}
	for {
		var line map[string]json.RawMessage
		if json.Unmarshal(r.next(), &line) != nil || len(line) != 1 {
			return errors.Join(ErrDamaged, r.lines.Err())
		}
		if end, ok := line["end"]; ok {
			var want fileEnd
			if json.Unmarshal(end, &want) != nil || want.Counts != read || want.SHA256 != hex.EncodeToString(r.sum.Sum(nil)) || r.lines.Scan() {
				return ErrDamaged
			}
			return flush()
		}
		for at < len(tables)-1 && line[tables[at]] == nil {
			if err := flush(); err != nil {
				return err
			}
			at++
		}
		row := line[tables[at]]
		if row == nil {
			return ErrDamaged
		}
		*read.of(tables[at])++
		if rows = append(rows, row); len(rows) == handedAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

func storeRows(ctx context.Context, tx pgx.Tx, table string, rows []json.RawMessage) (int64, error) {
	text, err := json.Marshal(rows)
	if err != nil {
		return 0, ErrDamaged
	}
	tag, err := tx.Exec(ctx, fmt.Sprintf(`
		insert into accounts.%[1]s
		select t.* from json_populate_recordset(null::accounts.%[1]s, $1) as t
		where exists (select from public.event_tags e where e.tag = 'user:' || t.user_id and e.type = 'user.registered')`, table), string(text))
	return tag.RowsAffected(), classify("store accounts", err)
}
