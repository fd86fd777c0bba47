package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/carelog/carelog/eventstore"
)

// maxLine is more than any line has: an event has at most 256 KiB, and a string
// of JSON six times as much as its text.
const maxLine = 4 << 20

// Export is an export that is whole.
type Export struct {
	Manifest
	Hash string // SHA-256 of the manifest, in hexadecimal
	dir  string
}

// Open reads the manifest of an export. It fails with [ErrNoExport], [ErrUnfinished],
// a [VersionError] or a [DamagedError].
func Open(dir string) (*Export, error) {
	m, hash, err := readManifest(dir, manifestName)
	if isMissing(err) {
		if _, err := os.Stat(filepath.Join(dir, partialName)); err == nil {
			return nil, ErrUnfinished
		}
		return nil, fmt.Errorf("%w in %s", ErrNoExport, dir)
	}
	if err != nil {
		return nil, err
	}
	return &Export{Manifest: m, Hash: hash, dir: dir}, nil
}

// Check reads the file of each segment, and fails with a [DamagedError] at the first
// that is not what was written.
func (e *Export) Check() error {
	for _, s := range e.Segments {
		if err := s.checkFile(e.dir); err != nil {
			return err
		}
	}
	return nil
}

// checkFile compares size and hash of the file.
func (s Segment) checkFile(dir string) error {
	file, err := os.Open(filepath.Join(dir, s.File))
	if isMissing(err) {
		return &DamagedError{s.File, "is missing"}
	}
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, file)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", s.File, err)
	case n != s.Bytes:
		return &DamagedError{s.File, fmt.Sprintf("has %d bytes and not %d", n, s.Bytes)}
	case hex.EncodeToString(sum.Sum(nil)) != s.SHA256:
		return &DamagedError{s.File, "has other contents (SHA-256) than the manifest says"}
	}
	return nil
}

// Rows answers all events, in order. It compares the lines with the manifest while it
// reads, and ends with a [DamagedError] where they differ: what it has answered by
// then may be wrong.
func (e *Export) Rows() iter.Seq2[eventstore.Row, error] {
	return func(yield func(eventstore.Row, error) bool) {
		for _, s := range e.Segments {
			more, err := s.rows(e.dir, func(r eventstore.Row) bool { return yield(r, nil) })
			if err != nil {
				yield(eventstore.Row{}, err)
			}
			if err != nil || !more {
				return
			}
		}
	}
}

func (s Segment) rows(dir string, yield func(eventstore.Row) bool) (more bool, err error) {
	damaged := func(what string) error { return &DamagedError{s.File, what} }
	file, err := os.Open(filepath.Join(dir, s.File))
	if isMissing(err) {
		return false, damaged("is missing")
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	unpacked, err := zstd.NewReader(file, zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return false, err
	}
	defer unpacked.Close()
	sum, count, last := sha256.New(), int64(0), s.First-1
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(make([]byte, 1<<16), maxLine)
	lines.Split(wholeLines)
	for lines.Scan() {
		sum.Write(lines.Bytes())
		r, err := parseLine(lines.Bytes())
		if err != nil || r.Position <= last || count == 0 && r.Position != s.First || r.Position > s.Last {
			return false, damaged(fmt.Sprintf("does not hold the next event in line %d", count+1))
		}
		if count, last = count+1, r.Position; !yield(r) {
			return false, nil
		}
	}
	var read *os.PathError
	switch err := lines.Err(); {
	case errors.As(err, &read):
		return false, err
	case err != nil:
		return false, damaged("cannot be unpacked: " + err.Error())
	case count != s.Events || last != s.Last || hex.EncodeToString(sum.Sum(nil)) != s.LinesSHA256:
		return false, damaged("holds other lines (SHA-256) than the manifest says")
	}
	return true, nil
}

// wholeLines splits at line breaks, which stay at the end of the lines.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}
