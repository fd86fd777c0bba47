package archive

import (
	"errors"
	"fmt"
)

var (
	// ErrNoExport: the directory is not there, or holds none.
	ErrNoExport = errors.New("there is no export")

	// ErrUnfinished: the export is not whole, it was interrupted.
	ErrUnfinished = errors.New("the export was interrupted and is not whole: run `carelog export` with the same arguments again, it goes on there")

	// ErrInUse: another process exports to the directory.
	ErrInUse = errors.New("another export to this directory is under way")
)

// DamagedError is an export that is not what was written.
type DamagedError struct {
	File string // in the directory of the export
	What string // is wrong
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the export is damaged: %s %s: copy it again from where it was written, or export again", e.File, e.What)
}

// VersionError is an export in a format that this program does not know.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the export has format version %d, and this carelog knows version %d: run a newer carelog", e.Version, formatVersion)
}

// OtherExportError is a directory that holds something else than what would be
// written to it.
type OtherExportError struct{ What string }

func (e *OtherExportError) Error() string { return e.What + ": name another directory" }
