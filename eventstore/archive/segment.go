package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/carelog/carelog/eventstore"
)

// Bounds of a segment. The second is for events that are unusually large.
const (
	segmentEvents = 100_000
	segmentBytes  = 256 << 20 // of lines
)

// file is where a segment is written; an *os.File.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// segmentWriter writes a segment under a name of its own.
type segmentWriter struct {
	Segment
	path  string // of the unfinished file
	file  file
	fileW *counted
	zstd  *zstd.Encoder
	lines hash.Hash
	types map[string]int64
	line  []byte
}

// counted hashes and counts what is written.
type counted struct {
	to  *bufio.Writer
	sum hash.Hash
	n   int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func newSegment(dir string, first eventstore.Row, create func(string) (file, error)) (*segmentWriter, error) {
	s := &segmentWriter{lines: sha256.New(), types: map[string]int64{}}
	s.File, s.First = segmentName(first.Position), first.Position
	s.path = filepath.Join(dir, s.File+unfinished)
	var err error
	if s.file, err = create(s.path); err != nil {
		return nil, err
	}
	s.fileW = &counted{to: bufio.NewWriterSize(s.file, 1<<16), sum: sha256.New()}
	// One goroutine compresses while the next events are read and encoded.
	s.zstd, err = zstd.NewWriter(s.fileW, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

func (s *segmentWriter) add(r eventstore.Row) error {
	s.line = appendLine(s.line[:0], r)
	s.lines.Write(s.line)
	if _, err := s.zstd.Write(s.line); err != nil {
		return err
	}
	s.Events++
	s.types[typeKey(r.Event)]++
	s.Last = r.Position
	s.LinesBytes += int64(len(s.line))
	return nil
}

// finish gives the segment its name, when all of it is on the disk.
func (s *segmentWriter) finish() error {
	err := s.zstd.Close()
	if err == nil {
		err = s.fileW.to.Flush()
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err = errors.Join(err, s.file.Close()); err != nil {
		return errors.Join(err, os.Remove(s.path))
	}
	s.Bytes, s.SHA256 = s.fileW.n, hex.EncodeToString(s.fileW.sum.Sum(nil))
	s.LinesSHA256 = hex.EncodeToString(s.lines.Sum(nil))
	dir := filepath.Dir(s.path)
	return errors.Join(os.Rename(s.path, filepath.Join(dir, s.File)), syncDir(dir))
}

// discard removes a segment that will not be finished.
func (s *segmentWriter) discard() error {
	if s.zstd != nil {
		s.zstd.Reset(nil) // ends its goroutines; Close would write
		_ = s.zstd.Close()
	}
	return errors.Join(s.file.Close(), os.Remove(s.path))
}
