package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

// WriterConfig says what is exported.
type WriterConfig struct {
	Dir       string // made where it is not there
	Log       uuid.UUID
	TagKey    events.TagKey
	Selection events.Selection
	Program   string // its version
	Now       func() time.Time
}

// Writer writes an export, or goes on with one. It is not safe for concurrent use.
type Writer struct {
	config   WriterConfig
	lock     *os.File
	manifest Manifest
	segment  *segmentWriter // nil between two
	create   func(string) (file, error)
	perFile  int64 // events
	whole    bool  // nothing was added since it was finished
}

// OpenWriter begins an export, or goes on with the one that is in the directory. It
// fails with an [OtherExportError] when something else is there, with a
// [DamagedError] when the last segment is not what was written, and with [ErrInUse].
func OpenWriter(config WriterConfig) (_ *Writer, err error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	w := &Writer{config: config, create: createFile, perFile: segmentEvents}
	if w.lock, err = lockDir(config.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.lock.Close())
		}
	}()
	w.manifest, _, err = readManifest(config.Dir, partialName)
	if isMissing(err) {
		w.manifest, _, err = readManifest(config.Dir, manifestName)
		w.whole = err == nil
	}
	if isMissing(err) {
		return w, w.begin()
	}
	if err != nil {
		return nil, err
	}
	if err := w.compare(); err != nil {
		return nil, err
	}
	if n := len(w.manifest.Segments); n > 0 {
		return w, w.manifest.Segments[n-1].checkFile(config.Dir)
	}
	return w, nil
}

// lockDir lets one process at a time write to the directory. The lock ends with the
// file, or with the process.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// begin writes the first manifest, which says whose the directory is from now on.
func (w *Writer) begin() error {
	entries, err := os.ReadDir(w.config.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), unfinished) {
			return &OtherExportError{fmt.Sprintf("%s holds something else than an export", w.config.Dir)}
		}
	}
	w.manifest = Manifest{
		Format: format, Version: formatVersion, Log: w.config.Log, Selection: SelectionOf(w.config.Selection),
		Program: w.config.Program, MadeAt: w.config.Now().UTC(), Types: map[string]int64{}, Segments: []Segment{},
	}
	if w.manifest.Selection == nil {
		w.manifest.TagKey = w.config.TagKey
	}
	_, err = writeManifest(w.config.Dir, partialName, w.manifest)
	return err
}

// compare refuses to go on with an export of something else.
func (w *Writer) compare() error {
	if w.manifest.Log != w.config.Log {
		return &OtherExportError{fmt.Sprintf("%s holds an export of the log %s, and this is the log %s", w.config.Dir, w.manifest.Log, w.config.Log)}
	}
	if w.manifest.Selection.text() != SelectionOf(w.config.Selection).text() {
		return &OtherExportError{fmt.Sprintf("%s holds an export of another selection", w.config.Dir)}
	}
	return nil
}

// Through is the position up to which the export is written: events that follow it
// are to be added. 0 before the first.
func (w *Writer) Through() events.Position { return max(w.manifest.Through, w.manifest.Last) }

// Whole tells whether the export was finished, and nothing was added since.
func (w *Writer) Whole() bool { return w.whole }

// Manifest tells what is written, without the segment that is not finished.
func (w *Writer) Manifest() Manifest { return w.manifest }

// Add adds the next event.
func (w *Writer) Add(r eventstore.Row) (err error) {
	if w.segment == nil {
		w.whole = false
		if w.segment, err = newSegment(w.config.Dir, r, w.create); err != nil {
			return fmt.Errorf("make a segment: %w", err)
		}
	}
	if err := w.segment.add(r); err != nil {
		return fmt.Errorf("write %s: %w", w.segment.File, err)
	}
	if w.segment.Events == w.perFile || w.segment.LinesBytes >= segmentBytes {
		return w.finishSegment()
	}
	return nil
}

// finishSegment lists the segment in the manifest.
func (w *Writer) finishSegment() error {
	s := w.segment
	w.segment = nil
	if err := s.finish(); err != nil {
		return fmt.Errorf("write %s: %w", s.File, err)
	}
	m := &w.manifest
	if m.Events == 0 {
		m.First = s.First
	}
	m.Events, m.Bytes = m.Events+s.Events, m.Bytes+s.Bytes
	m.Last, m.Through = s.Last, s.Last
	m.Segments = append(m.Segments, s.Segment)
	for key, n := range s.types {
		m.Types[key] += n
	}
	_, err := writeManifest(w.config.Dir, partialName, *m)
	return err
}

// Finish ends the export: what was added are all the events that are selected, up to
// this position of the log. It answers the SHA-256 of the manifest.
func (w *Writer) Finish(through events.Position) (hash string, err error) {
	if w.segment != nil {
		if err := w.finishSegment(); err != nil {
			return "", err
		}
	}
	w.whole = true
	w.manifest.Through, w.manifest.MadeAt, w.manifest.Program = through, w.config.Now().UTC(), w.config.Program
	if hash, err = writeManifest(w.config.Dir, manifestName, w.manifest); err != nil {
		return "", err
	}
	err = os.Remove(filepath.Join(w.config.Dir, partialName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return hash, syncDir(w.config.Dir)
}

// Close ends the writing. The segment that is not finished is lost.
func (w *Writer) Close() error {
	var err error
	if w.segment != nil {
		err = w.segment.discard()
	}
	return errors.Join(err, w.lock.Close())
}
