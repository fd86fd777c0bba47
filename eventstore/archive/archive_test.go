package archive

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLog = uuid.MustParse("0198a000-0000-7000-8000-000000000001")

func configOf(dir string) WriterConfig {
	return WriterConfig{Dir: dir, Log: testLog, TagKey: []byte("0123456789abcdef0123456789abcdef"), Program: "test", Now: time.Now}
}

// someRows are events that are the same each time.
func someRows(first, last events.Position) []eventstore.Row {
	var rows []eventstore.Row
	for position := first; position <= last; position++ {
		r := someRow(position)
		r.ID = uuid.NewSHA1(testLog, []byte(fmt.Sprint(position)))
		rows = append(rows, r)
	}
	return rows
}

// openWriter has small segments.
func openWriter(t *testing.T, config WriterConfig) *Writer {
	t.Helper()
	w, err := OpenWriter(config)
	if err != nil {
		t.Fatal(err)
	}
	w.perFile = 10
	return w
}

func add(t *testing.T, w *Writer, rows []eventstore.Row) {
	t.Helper()
	for _, r := range rows {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t *testing.T, w *Writer, through events.Position) string {
	t.Helper()
	hash, err := w.Finish(through)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return hash
}

// written is an export of so many events.
func written(t *testing.T, last events.Position) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "export")
	w := openWriter(t, configOf(dir))
	add(t, w, someRows(1, last))
	finish(t, w, last)
	return dir
}

func readAll(t *testing.T, dir string) (rows []eventstore.Row, err error) {
	t.Helper()
	e, err := Open(dir)
	if err == nil {
		err = e.Check()
	}
	if err != nil {
		return nil, err
	}
	for r, err := range e.Rows() {
		if err != nil {
			return nil, err
		}
		r.Data, r.Metadata = bytes.Clone(r.Data), bytes.Clone(r.Metadata) // they share the memory of the reader
		rows = append(rows, r)
	}
	return rows, nil
}

func TestAnExportIsReadAsItWasWritten(t *testing.T) {
	for _, last := range []events.Position{0, 1, 9, 10, 11, 35} {
		dir := filepath.Join(t.TempDir(), "not", "there")
		w := openWriter(t, configOf(dir))
		if w.Whole() || w.Through() != 0 {
			t.Error("a new export is whole")
		}
		add(t, w, someRows(1, last))
		hash := finish(t, w, last)
		rows, err := readAll(t, dir)
		if err != nil || !reflect.DeepEqual(rows, someRows(1, last)) {
			t.Errorf("of %d events %d are read, %v", last, len(rows), err)
		}
		e, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if e.Hash != hash || e.Log != testLog || string(e.TagKey) != string(configOf("").TagKey) || e.Events != int64(last) || e.Last != last || e.Selection != nil {
			t.Errorf("%+v", e)
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) != len(e.Segments)+1 || len(e.Segments) != (int(last)+9)/10 {
			t.Errorf("%d files for %d segments", len(entries), len(e.Segments))
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", entry.Name(), info.Mode(), err)
			}
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// hashes are those of all segments.
func hashes(t *testing.T, dir string) (list []string) {
	t.Helper()
	e, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range e.Segments {
		list = append(list, s.SHA256)
	}
	return list
}

// TestAnExportGoesOn wherever it was interrupted, and after it was whole, and the files are those of an export that was not.
func TestAnExportGoesOn(t *testing.T) {
	want := hashes(t, written(t, 35))
	for _, until := range []events.Position{0, 1, 9, 10, 11, 20, 34, 35} {
		dir := filepath.Join(t.TempDir(), "export")
		w := openWriter(t, configOf(dir))
		add(t, w, someRows(1, until))
		if err := w.Close(); err != nil { // as if it had been killed: nothing more is written
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrUnfinished) {
			t.Fatalf("an export that is not whole is opened: %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, segmentName(w.Through()+1)+unfinished), []byte("half"), 0o600); err != nil { // what a kill leaves
			t.Fatal(err)
		}
		w = openWriter(t, configOf(dir))
		if w.Through() != until/10*10 || w.Whole() {
			t.Fatalf("interrupted after %d it goes on after %d", until, w.Through())
		}
		add(t, w, someRows(w.Through()+1, 35))
		finish(t, w, 35)
		if got := hashes(t, dir); !slices.Equal(got, want) {
			t.Fatalf("interrupted after %d: other files", until)
		}
	}
	dir := written(t, 35)
	w := openWriter(t, configOf(dir))
	if !w.Whole() || w.Through() != 35 {
		t.Errorf("whole: %t, through %d", w.Whole(), w.Through())
	}
	add(t, w, someRows(36, 60))
	if rows, err := readAll(t, dir); err != nil || len(rows) != 35 {
		t.Errorf("while it goes on, what was there is %d events, %v", len(rows), err)
	}
	finish(t, w, 60)
	if rows, err := readAll(t, dir); err != nil || !reflect.DeepEqual(rows, someRows(1, 60)) {
		t.Errorf("%d events, %v", len(rows), err)
	}
}

func TestASelectionHasNoKeyAndMayHaveGaps(t *testing.T) {
	dir := t.TempDir()
	config := configOf(dir)
	config.Selection = events.Selection{After: 3, Query: events.Query{{Tags: []events.Tag{"patient:1"}}}}
	w := openWriter(t, config)
	for _, r := range someRows(4, 80) {
		if r.Position%7 == 0 {
			add(t, w, []eventstore.Row{r})
		}
	}
	finish(t, w, 80)
	rows, err := readAll(t, dir)
	e, openErr := Open(dir)
	if err != nil || openErr != nil || len(rows) != 11 || e.TagKey != nil || e.Selection == nil || e.Through != 80 {
		t.Errorf("%d rows, %v, %+v", len(rows), err, e)
	}
	for _, other := range []events.Selection{{}, {After: 3}, {After: 4, Query: config.Selection.Query}, {Actor: events.Actor{UserID: 3}}} {
		config.Selection = other
		if _, err := OpenWriter(config); !isOther(err) {
			t.Errorf("gone on with another selection: %v", err)
		}
	}
}

func isOther(err error) bool {
	_, ok := errors.AsType[*OtherExportError](err)
	return ok
}

// TestTheDiskIsFull in the second segment: the first stays, nothing is left of the
// other, and with more room it goes on.
func TestTheDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, configOf(dir))
	w.create = func(path string) (file, error) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		room := 1 << 20
		if strings.Contains(path, segmentName(11)) {
			room = 100
		}
		return &fullDisk{f, room}, err
	}
	var err error
	for _, r := range someRows(1, 35) {
		if err = w.Add(r); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), segmentName(11)) {
		t.Errorf("got %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, []string{segmentName(1), partialName}) {
		t.Errorf("there are %v", names)
	}
	w = openWriter(t, configOf(dir))
	add(t, w, someRows(w.Through()+1, 35))
	finish(t, w, 35)
	if rows, err := readAll(t, dir); err != nil || len(rows) != 35 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestEveryTypeIsNamedInTheManifest, and can be taken apart again.
func TestTypesOfTheManifest(t *testing.T) {
	for key, want := range map[string]int{"patient.registered.v1": 1, "a.vx.v12": 12, "x.v": 0, "x": 0, "x.v0": 0, ".v1": 0} {
		name, version, err := ParseType(key)
		if version != want || (err == nil) != (want > 0) || want > 0 && fmt.Sprintf("%s.v%d", name, version) != key {
			t.Errorf("%s: %s, %d, %v", key, name, version, err)
		}
	}
	e, err := Open(written(t, 12))
	if text, _ := json.Marshal(e.Types); err != nil || string(text) != `{"patient.registered.v1":12}` {
		t.Errorf("%s, %v", text, err)
	}
}

// BenchmarkCompression compresses the lines of a segment of 52 MB: on a core (AMD EPYC,
// shared with others) zstd at its fastest takes 0.28 s and leaves 12.7 %, at its default
// 0.55 s and 13.5 %; gzip 0.43 s and 15.3 %, and 0.92 s and 14.2 %.
func BenchmarkCompression(b *testing.B) {
	var lines []byte
	for i := range 100_000 {
		r := someRow(events.Position(i + 1))
		request, salt := uuid.NewString(), uuid.New()
		r.Metadata = fmt.Appendf(nil, `{"actor":{"user_id":%d},"correlation_id":%q,"request_id":%[2]q}`, i%100, request)
		r.Salt = salt[:]
		lines = appendLine(lines, r)
	}
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"gzip fastest": func(w io.Writer) (io.WriteCloser, error) {
			return gzip.NewWriterLevel(w, gzip.BestSpeed)
		},
		"zstd fastest": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		},
		"zstd": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(lines)))
			var packed bytes.Buffer
			for b.Loop() {
				packed.Reset()
				w, err := open(&packed)
				if err == nil {
					_, err = w.Write(lines)
				}
				if err = errors.Join(err, w.Close()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(packed.Len())/float64(len(lines)), "of_size")
		})
	}
}
