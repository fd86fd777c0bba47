package eventstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Row is all that the log holds of an event.
type Row struct {
	events.Recorded
	Salt []byte
}

const rowColumns = `position, id, type, schema_version, tags, data, metadata, salt, recorded_at`

// Rows answers the rows of a selection as [Store.Stream] answers its events. It is
// for who reads many: the whole log, or what is between two positions, takes half as
// long.
func (s *Store) Rows(ctx context.Context, selected events.Selection) iter.Seq2[Row, error] {
	read := s.rowsFound
	if len(selected.Query) == 0 && selected.Kind == "" && selected.Actor == (events.Actor{}) {
		read = s.rowsAll
	}
	return func(yield func(Row, error) bool) {
		err := read(ctx, selected, func(r Row) bool { return yield(r, nil) })
		if err != nil {
			yield(Row{}, fmt.Errorf("read events: %w", classify(err)))
		}
	}
}

// rowsAll walks along the log.
func (s *Store) rowsAll(ctx context.Context, selected events.Selection, yield func(Row) bool) error {
	for page := (rowPage{}); ; {
		var args arguments
		sql := `select ` + rowColumns + ` from events where position > ` + args.add(int64(selected.After)) + upTo(selected.Until, &args) +
			` order by position limit ` + args.add(pageSize)
		if err := page.read(ctx, s, sql, args); err != nil {
			return err
		}
		for _, r := range page.rows {
			if !yield(r) {
				return nil
			}
		}
		if len(page.rows) < pageSize {
			return nil
		}
		selected.After = page.rows[pageSize-1].Position
	}
}

// rowsFound reads again, with all columns, what a stream of events has found.
func (s *Store) rowsFound(ctx context.Context, selected events.Selection, yield func(Row) bool) error {
	found := make([]int64, 0, pageSize)
	var page rowPage
	hand := func() (more bool, err error) {
		err = page.read(ctx, s, `select `+rowColumns+` from events where position = any($1) order by position`, []any{found})
		found = found[:0]
		for i := 0; err == nil && i < len(page.rows); i++ {
			if !yield(page.rows[i]) {
				return false, nil
			}
		}
		return true, err
	}
	for e, err := range s.Stream(ctx, selected) {
		if err != nil {
			return err
		}
		if found = append(found, int64(e.Position)); len(found) < pageSize {
			continue
		}
		if more, err := hand(); err != nil || !more {
			return err
		}
	}
	_, err := hand()
	return err
}

// rowPage is a page of rows, and the memory that all of them are in.
type rowPage struct {
	rows []Row
	mem  []byte
	tags []events.Tag
}

func (p *rowPage) read(ctx context.Context, s *Store, sql string, args []any) error {
	// As much as the page before had.
	p.rows, p.mem, p.tags = p.rows[:0], make([]byte, 0, len(p.mem)), make([]events.Tag, 0, len(p.tags))
	rows, err := s.config.Pool.Query(ctx, sql, append([]any{binaryRow}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := p.decode(rows.RawValues())
		if err != nil {
			return err
		}
		p.rows = append(p.rows, r)
	}
	return rows.Err()
}

// binaryRow asks for the columns in the binary format of the protocol. That of json
// is its text.
var binaryRow = pgx.QueryResultFormats{
	pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode,
	pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode,
}

var errRowFormat = errors.New("postgres sends a row of events in an unknown format")

// postgresEpoch is what timestamps are counted from, in microseconds.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// decode takes the values of rowColumns, which are only valid until the next row.
func (p *rowPage) decode(values [][]byte) (Row, error) {
	if len(values) != 9 || len(values[0]) != 8 || len(values[1]) != 16 || len(values[3]) != 4 || len(values[8]) != 8 {
		return Row{}, errRowFormat
	}
	tags, err := p.decodeTags(values[4])
	if err != nil {
		return Row{}, err
	}
	var r Row
	r.Position = events.Position(binary.BigEndian.Uint64(values[0]))
	r.ID = uuid.UUID(values[1])
	r.Type = events.Type(values[2])
	r.SchemaVersion = int(binary.BigEndian.Uint32(values[3]))
	r.Tags = tags
	r.Data, r.Metadata, r.Salt = p.keep(values[5]), p.keep(values[6]), p.keep(values[7])
	r.RecordedAt = postgresEpoch.Add(time.Duration(int64(binary.BigEndian.Uint64(values[8]))) * time.Microsecond)
	return r, nil
}

// keep copies a value into the page's memory.
func (p *rowPage) keep(value []byte) []byte {
	begin := len(p.mem)
	p.mem = append(p.mem, value...) // where it grows, earlier values stay in the old memory
	return p.mem[begin:len(p.mem):len(p.mem)]
}

// decodeTags takes an array of texts: number of dimensions, whether there are nulls,
// type of the elements; length and first index of the dimension; length and bytes of
// each element.
func (p *rowPage) decodeTags(value []byte) ([]events.Tag, error) {
	const header, dimension = 12, 8
	if len(value) < header {
		return nil, errRowFormat
	}
	dimensions, rest := binary.BigEndian.Uint32(value), value[header:]
	if dimensions == 0 {
		return nil, nil
	}
	if dimensions != 1 || len(rest) < dimension {
		return nil, errRowFormat
	}
	begin, count := len(p.tags), binary.BigEndian.Uint32(rest)
	rest = rest[dimension:]
	for range count {
		if len(rest) < 4 {
			return nil, errRowFormat
		}
		length := int(int32(binary.BigEndian.Uint32(rest)))
		if rest = rest[4:]; length < 0 || length > len(rest) {
			return nil, errRowFormat
		}
		p.tags = append(p.tags, events.Tag(rest[:length]))
		rest = rest[length:]
	}
	return p.tags[begin:len(p.tags):len(p.tags)], nil
}
