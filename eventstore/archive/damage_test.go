package archive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

func TestOtherDirectoriesAreRefused(t *testing.T) {
	dir := written(t, 5)
	other := configOf(dir)
	other.Log = uuid.New()
	if _, err := OpenWriter(other); !isOther(err) {
		t.Errorf("of another log: %v", err)
	}
	w := openWriter(t, configOf(dir))
	if _, err := OpenWriter(configOf(dir)); !errors.Is(err, ErrInUse) {
		t.Errorf("two at a time: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenWriter(configOf(full)); !isOther(err) {
		t.Errorf("with somebody's files: %v", err)
	}
	if _, err := OpenWriter(configOf(filepath.Join(full, "letter.txt"))); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if _, err := Open(filepath.Join(full, "nothing")); !errors.Is(err, ErrNoExport) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Open(full); !errors.Is(err, ErrNoExport) {
		t.Errorf("no export: %v", err)
	}
}

// alter changes the manifest of an export.
func alter(t *testing.T, dir string, change func(*Manifest)) {
	t.Helper()
	m, _, err := readManifest(dir, manifestName)
	if err != nil {
		t.Fatal(err)
	}
	change(&m)
	if _, err := writeManifest(dir, manifestName, m); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsFound, and the file is named. Where the files are as the manifest says,
// and the lines are not, it is found while they are read.
func TestDamageIsFound(t *testing.T) {
	second := segmentName(11)
	rewrite := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, second)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	manifest := func(change func(*Manifest)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { alter(t, dir, change) }
	}
	lines := func(change func([]byte) []byte) func(*testing.T, string) { // with a manifest that fits the file
		return func(t *testing.T, dir string) {
			rewrite(func(text []byte) []byte { return pack(t, change(unpack(t, text))) })(t, dir)
			text, err := os.ReadFile(filepath.Join(dir, second))
			if err != nil {
				t.Fatal(err)
			}
			alter(t, dir, func(m *Manifest) {
				m.Bytes += int64(len(text)) - m.Segments[1].Bytes
				m.Segments[1].Bytes, m.Segments[1].SHA256 = int64(len(text)), hashOf(text)
			})
		}
	}
	for name, c := range map[string]struct {
		damage func(*testing.T, string)
		file   string
	}{
		"a byte":                {rewrite(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), second},
		"cut":                   {rewrite(func(b []byte) []byte { return b[:len(b)-1] }), second},
		"longer":                {rewrite(func(b []byte) []byte { return append(b, 0) }), second},
		"empty":                 {rewrite(func([]byte) []byte { return nil }), second},
		"missing":               {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, second)) }, second},
		"a letter in a line":    {lines(func(b []byte) []byte { return bytes.Replace(b, []byte("Smith"), []byte("Smiht"), 1) }), second},
		"a line less":           {lines(func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] }), second},
		"a line more":           {lines(func(b []byte) []byte { return append(b, appendLine(nil, someRow(21))...) }), second},
		"half a line":           {lines(func(b []byte) []byte { return b[:len(b)-5] }), second},
		"no event":              {lines(func(b []byte) []byte { return append([]byte("{}\n"), b...) }), second},
		"not packed":            {func(t *testing.T, dir string) { rewriteRaw(t, dir, second) }, second},
		"a segment not listed":  {manifest(func(m *Manifest) { m.Segments = slices.Delete(m.Segments, 1, 2) }), manifestName},
		"the first not listed":  {manifest(func(m *Manifest) { m.Segments = m.Segments[1:] }), manifestName},
		"the last not listed":   {manifest(func(m *Manifest) { m.Segments = m.Segments[:3] }), manifestName},
		"another count":         {manifest(func(m *Manifest) { m.Events++ }), manifestName},
		"another count of type": {manifest(func(m *Manifest) { m.Types["patient.registered.v1"]-- }), manifestName},
		"a file elsewhere":      {manifest(func(m *Manifest) { m.Segments[1].File = "../" + second }), manifestName},
		"no JSON": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(`{"format":`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, manifestName},
		"another format": {manifest(func(m *Manifest) { m.Format = "letters" }), manifestName},
	} {
		dir := written(t, 35)
		c.damage(t, dir)
		_, err := readAll(t, dir)
		damaged, ok := errors.AsType[*DamagedError](err)
		if !ok || damaged.File != c.file {
			t.Errorf("%s: %v", name, err)
		}
		if ok && strings.Contains(err.Error(), "Smith") {
			t.Errorf("%s: personal data in %v", name, err)
		}
	}
	dir := written(t, 35)
	alter(t, dir, func(m *Manifest) { m.Version = 2 })
	if _, err := readAll(t, dir); !isVersion(err) {
		t.Errorf("of a newer format: %v", err)
	}
	if _, err := OpenWriter(configOf(dir)); !isVersion(err) {
		t.Errorf("gone on with a newer format: %v", err)
	}
	dir = written(t, 35)
	if err := os.Truncate(filepath.Join(dir, segmentName(31)), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenWriter(configOf(dir)); err == nil || !strings.Contains(err.Error(), segmentName(31)) {
		t.Errorf("gone on behind a damaged segment: %v", err)
	}
}

func isVersion(err error) bool {
	_, ok := errors.AsType[*VersionError](err)
	return ok
}

func unpack(t testing.TB, text []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines, err := r.DecodeAll(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func pack(t testing.TB, lines []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(lines, nil)
}

// rewriteRaw leaves the lines as they are, without compression, and says so in the
// manifest.
func rewriteRaw(t *testing.T, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	lines := unpack(t, text)
	if err := os.WriteFile(filepath.Join(dir, name), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	alter(t, dir, func(m *Manifest) {
		m.Bytes += int64(len(lines)) - m.Segments[1].Bytes
		m.Segments[1].Bytes, m.Segments[1].SHA256 = int64(len(lines)), hashOf(lines)
	})
}

// fullDisk takes so many bytes.
type fullDisk struct {
	*os.File
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.room {
		return 0, &os.PathError{Op: "write", Path: d.Name(), Err: syscall.ENOSPC}
	}
	d.room -= len(p)
	return d.File.Write(p)
}
