package eventstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

var (
	// ErrNotEmpty: there are events in the log that was to be filled.
	ErrNotEmpty = errors.New("the log of this database is not empty")

	// ErrNotOwner: the database's role may not do this.
	ErrNotOwner = errors.New("the role of this database may not fill the log: do it as the owner of the database")
)

// Importer fills an empty log with the events of another one, in the transaction of
// the caller. So there is all of it, or nothing; and nothing is ever there
// that a server could take for a log.
//
// The events are copied in pieces. Their tags, which are a part of them, are put into
// event_tags at the end, and the key of that is made anew: it takes half as long as
// to put them in the order of the key into the table that has it, and a tenth of doing
// that in the order of events. Nothing needs more memory the longer the log is.
type Importer struct {
	tx     pgx.Tx
	head   events.Position
	last   time.Time             // recorded_at of the head
	ids    map[events.Kind]int64 // the highest of each kind
	report func(events.Position)
}

// importSettings are those of the transaction. A statement takes as long as the log is
// long.
const importSettings = `
	set local statement_timeout = 0;
	set local idle_in_transaction_session_timeout = 0;
	set local synchronous_commit = on;
	set local maintenance_work_mem = '128MB';
	set local jit = off`

// NewImporter takes the append lock, until the transaction ends. It fails with
// [ErrNotEmpty]. Report, where set, is told how many events are copied.
func NewImporter(ctx context.Context, tx pgx.Tx, report func(events.Position)) (*Importer, error) {
	if report == nil {
		report = func(events.Position) {}
	}
	_, err := tx.Exec(ctx, importSettings)
	if err == nil {
		_, err = tx.Exec(ctx, lockSQL, appendLock)
	}
	var empty bool
	if err == nil {
		err = tx.QueryRow(ctx, `select not exists (select from events)`).Scan(&empty)
	}
	switch {
	case err != nil:
		return nil, failedImport("look into the log", err)
	case !empty:
		return nil, ErrNotEmpty
	}
	return &Importer{tx: tx, ids: map[events.Kind]int64{}, report: report}, nil
}

// copyPiece is how many events are copied by one statement. It is not one for all,
// because whoever waits to append takes a statement that has waited for its client
// some seconds after its begin for one that hangs (endSilentHolder).
const copyPiece = 20_000

// Copy copies all events of a log, from position 1 on.
func (i *Importer) Copy(ctx context.Context, rows iter.Seq2[Row, error]) error {
	next, stop := iter.Pull2(rows)
	defer stop()
	for {
		piece := copyReader{importer: i, next: next, data: []byte(copyHeader)}
		_, err := i.tx.Conn().PgConn().CopyFrom(ctx, &piece, `copy events (`+rowColumns+`) from stdin (format binary)`)
		switch {
		case piece.err != nil:
			return piece.err
		case err != nil:
			return failedImport("copy events", err)
		}
		i.report(i.head)
		if piece.ended {
			return nil
		}
	}
}

// copyReader is a piece in the binary format of COPY.
type copyReader struct {
	importer *Importer
	next     func() (Row, error, bool)
	data     []byte // not read yet
	buffer   []byte
	rows     int
	closed   bool  // the trailer was written
	ended    bool  // there are no more events
	err      error // of the events, not of the database
}

const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// Read implements [io.Reader].
func (c *copyReader) Read(p []byte) (int, error) {
	for len(c.data) == 0 {
		if c.closed {
			return 0, io.EOF
		}
		c.buffer = c.buffer[:0]
		for len(c.buffer) < 1<<15 && !c.closed {
			if err := c.fill(); err != nil {
				c.err = err
				return 0, err
			}
		}
		c.data = c.buffer
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

// fill puts the next event into the buffer, or the trailer.
func (c *copyReader) fill() error {
	if c.rows == copyPiece {
		c.buffer, c.closed = append(c.buffer, copyTrailer...), true
		return nil
	}
	r, err, more := c.next()
	if !more {
		c.buffer, c.closed, c.ended = append(c.buffer, copyTrailer...), true, true
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.importer.note(r); err != nil {
		return err
	}
	c.buffer = appendCopied(c.buffer, r)
	c.rows++
	return nil
}

// note looks at an event that is about to be stored.
func (i *Importer) note(r Row) error {
	if r.Position != i.head+1 {
		return fmt.Errorf("event %d follows event %d", r.Position, i.head)
	}
	if r.RecordedAt.Before(i.last) {
		return fmt.Errorf("event %d was recorded before the one before it", r.Position)
	}
	i.head, i.last = r.Position, r.RecordedAt
	for _, tag := range r.Tags {
		kind, id, _ := strings.Cut(string(tag), ":")
		if _, known := sequences[events.Kind(kind)]; !known {
			continue
		}
		if n, err := strconv.ParseInt(id, 10, 64); err == nil {
			i.ids[events.Kind(kind)] = max(i.ids[events.Kind(kind)], n)
		}
	}
	return nil
}

// appendCopied appends a row of rowColumns: the number of fields, and of each its
// length and its value.
func appendCopied(b []byte, r Row) []byte {
	b = binary.BigEndian.AppendUint16(b, 9)
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Position))
	b = appendField(b, r.ID[:])
	b = appendField(b, []byte(r.Type))
	b = binary.BigEndian.AppendUint32(b, 4)
	b = binary.BigEndian.AppendUint32(b, uint32(r.SchemaVersion))
	b = appendTags(b, r.Tags)
	b = appendField(b, r.Data)
	b = appendField(b, r.Metadata)
	b = appendField(b, r.Salt)
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, uint64(r.RecordedAt.Sub(postgresEpoch).Microseconds()))
}

func appendField(b, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

// textOID is PostgreSQL's name for the type text.
const textOID = 25

// appendTags is the inverse of decodeTags.
func appendTags(b []byte, tags []events.Tag) []byte {
	begin := len(b)
	b = append(b, 0, 0, 0, 0) // the length, which is known at the end
	dimensions := uint32(min(len(tags), 1))
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 0) // no nulls
	b = binary.BigEndian.AppendUint32(b, textOID)
	if dimensions == 1 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(tags)))
		b = binary.BigEndian.AppendUint32(b, 1) // the first index
	}
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint32(b, uint32(len(tag)))
		b = append(b, tag...)
	}
	binary.BigEndian.PutUint32(b[begin:], uint32(len(b)-begin-4))
	return b
}

// Head is the position of the last event that was copied.
func (i *Importer) Head() events.Position { return i.head }

// Index makes what was copied be found by its tags. The key of event_tags is made
// when its rows are there.
func (i *Importer) Index(ctx context.Context) error {
	var key string
	err := i.tx.QueryRow(ctx, `select pg_get_constraintdef(oid) from pg_constraint
		where conrelid = 'event_tags'::regclass and conname = 'event_tags_pkey'`).Scan(&key)
	for _, statement := range []string{
		`alter table event_tags drop constraint event_tags_pkey`,
		`insert into event_tags (tag, type, position) select tag, type, position from events cross join unnest(tags) as tag`,
		`alter table event_tags add constraint event_tags_pkey ` + key,
	} {
		if err == nil {
			_, err = i.tx.Exec(ctx, statement)
		}
	}
	if err != nil {
		return failedImport("index the events by their tags", err)
	}
	return nil
}

// Finish makes a log of what was copied and indexed: with an id that no log has had,
// because whoever has followed the old one must not take this for it, the tag key of
// the old one, sequences that stand above every id in it, and one more event, which
// tells of the import. It answers the id and the position of that.
func (i *Importer) Finish(ctx context.Context, key events.TagKey, e events.Event) (log uuid.UUID, last events.Position, err error) {
	if _, err := validate([]events.Event{e}, nil); err != nil {
		return uuid.Nil, 0, fmt.Errorf("import: %w", err)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, as its documentation promises
	tags := make([]string, len(e.Tags))
	for i, tag := range e.Tags {
		tags[i] = string(tag)
	}
	log, last = uuid.New(), i.head+1
	var batch pgx.Batch
	batch.Queue(`insert into events (`+rowColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, greatest(clock_timestamp(), $9))`,
		last, e.ID, string(e.Type), e.SchemaVersion, tags, string(e.Data), string(e.Metadata), salt, i.last)
	batch.Queue(`insert into event_tags (tag, type, position) select tag, $2, $3 from unnest($1::text[]) as tag`, tags, string(e.Type), last)
	for kind, highest := range i.ids {
		batch.Queue(`select setval($1::regclass, greatest($2, nextval($1::regclass) - 1))`, sequences[kind], highest)
	}
	batch.Queue(`insert into log (id, tag_key) values ($1, $2)
		on conflict on constraint log_pkey do update set id = excluded.id, tag_key = excluded.tag_key, made_at = excluded.made_at`, log, []byte(key))
	if err := i.tx.SendBatch(ctx, &batch).Close(); err != nil {
		return uuid.Nil, 0, failedImport("make a log of the events", err)
	}
	return log, last, nil
}

// failedImport is classify for statements of an import.
func failedImport(doing string, err error) error {
	const insufficientPrivilege = "42501"
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == insufficientPrivilege {
		return ErrNotOwner
	}
	return fmt.Errorf("%s: %w", doing, classify(err))
}
