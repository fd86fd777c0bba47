package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

const (
	format        = "carelog export"
	formatVersion = 1

	manifestName = "manifest.json"
	partialName  = "manifest.partial.json"
	unfinished   = ".tmp" // ends the name of a file that is being written
)

// Manifest tells what an export holds.
type Manifest struct {
	Format    string           `json:"format"`
	Version   int              `json:"version"` // of the format
	Log       uuid.UUID        `json:"log"`     // the id of the log
	MadeAt    time.Time        `json:"made_at"`
	Program   string           `json:"program"`           // its version
	Selection *Selection       `json:"selection"`         // null for the whole log
	TagKey    []byte           `json:"tag_key,omitempty"` // of the log, where that is whole
	Through   events.Position  `json:"through"`           // the log was looked at up to here
	Events    int64            `json:"events"`
	First     events.Position  `json:"first"` // event; 0 for none, here and below
	Last      events.Position  `json:"last"`
	Bytes     int64            `json:"bytes"` // of all segments
	Types     map[string]int64 `json:"types"` // how many events of each type and schema version: "patient.registered.v1"
	Segments  []Segment        `json:"segments"`
}

// Segment is a file of events.
type Segment struct {
	File        string          `json:"file"`
	Events      int64           `json:"events"`
	First       events.Position `json:"first"`
	Last        events.Position `json:"last"`
	Bytes       int64           `json:"bytes"`
	SHA256      string          `json:"sha256"` // of the file
	LinesBytes  int64           `json:"lines_bytes"`
	LinesSHA256 string          `json:"lines_sha256"`
}

// Selection is the part of the log that was exported, as in [events.Selection].
type Selection struct {
	After events.Position `json:"after,omitempty"`
	Until events.Position `json:"until,omitempty"`
	Kind  events.Kind     `json:"kind,omitempty"`
	Types []events.Type   `json:"types,omitempty"` // any of them
	Tags  []events.Tag    `json:"tags,omitempty"`  // all of them
	Actor *events.Actor   `json:"actor,omitempty"`
}

// SelectionOf is how a manifest tells of a selection whose query has one item at most;
// nil for the whole log.
func SelectionOf(s events.Selection) *Selection {
	told := Selection{After: s.After, Until: s.Until, Kind: s.Kind}
	for _, item := range s.Query {
		told.Types, told.Tags = item.Types, item.Tags
	}
	if s.Actor != (events.Actor{}) {
		told.Actor = &s.Actor
	}
	if told.text() == (&Selection{}).text() {
		return nil
	}
	return &told
}

// text is the same for selections that are the same.
func (s *Selection) text() string {
	text, _ := json.Marshal(s) // of numbers and strings
	return string(text)
}

// typeKey is how a manifest names the type and schema version of an event.
func typeKey(e events.Event) string { return string(e.Type) + ".v" + strconv.Itoa(e.SchemaVersion) }

// ParseType takes such a name apart.
func ParseType(key string) (events.Type, int, error) {
	i := strings.LastIndex(key, ".v")
	if i < 1 {
		return "", 0, fmt.Errorf("%q names no type of events", key)
	}
	version, err := strconv.Atoi(key[i+2:])
	if err != nil || version < 1 {
		return "", 0, fmt.Errorf("%q names no type of events", key)
	}
	return events.Type(key[:i]), version, nil
}

// readManifest answers a manifest and its SHA-256; fs.ErrNotExist for none.
func readManifest(dir, name string) (m Manifest, hash string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return m, "", err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, "", &DamagedError{name, "is no JSON document of an export"}
	}
	switch {
	case m.Format != format:
		return m, "", &DamagedError{name, "is not that of an export"}
	case m.Version != formatVersion:
		return m, "", &VersionError{m.Version}
	}
	return m, hashOf(text), m.check(name)
}

// check finds what contradicts itself.
func (m Manifest) check(name string) error {
	var count, bytes, ofTypes int64
	var last events.Position
	for _, s := range m.Segments {
		span := int64(s.Last - s.First + 1)
		if s.First <= last || s.Events < 1 || span < s.Events || s.File != segmentName(s.First) ||
			m.Selection == nil && (s.First != last+1 || span != s.Events) {
			return &DamagedError{name, "lists segments that do not follow each other: one is missing behind position " + strconv.FormatInt(int64(last), 10)}
		}
		count, bytes, last = count+s.Events, bytes+s.Bytes, s.Last
	}
	for _, n := range m.Types {
		ofTypes += n
	}
	if count != m.Events || ofTypes != m.Events || bytes != m.Bytes || last != m.Last || m.Through < last ||
		len(m.Segments) > 0 && m.First != m.Segments[0].First {
		return &DamagedError{name, "contradicts itself"}
	}
	return nil
}

// writeManifest puts the manifest in the place of the one before, at once and for
// good, and answers its SHA-256.
func writeManifest(dir, name string, m Manifest) (hash string, err error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	text = append(text, '\n')
	path := filepath.Join(dir, name)
	file, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", err
	}
	return hashOf(text), errors.Join(os.Rename(path+unfinished, path), syncDir(dir))
}

// syncDir makes the names in a directory last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// hashOf is the SHA-256 of a file, in hexadecimal.
func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func segmentName(first events.Position) string { return fmt.Sprintf("events-%012d.ndjson.zst", first) }

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
