package commands

import (
	"errors"
	"fmt"
)

// Refusals: the command was understood and decided against.
var (
	// ErrNotFound: there is no such record, or it is another user's.
	ErrNotFound = errors.New("not found")

	// ErrEmailTaken: another user, or another doctor, has this e-mail address.
	ErrEmailTaken = errors.New("the e-mail address is taken")

	// ErrPairTaken: this patient and this doctor are mapped already.
	ErrPairTaken = errors.New("the patient and the doctor are mapped already")

	// ErrPreconditionFailed: the record's last event is not at a position that
	// the command names.
	ErrPreconditionFailed = errors.New("the record has another state than the command expects")

	// ErrKeyReused: another command was carried out under the idempotency key.
	ErrKeyReused = errors.New("the idempotency key was used for another command")
)

// ErrBusy: the command met a conflict each time it was tried. Nothing happened;
// it may be sent again.
var ErrBusy = errors.New("too many conflicting changes at once")

// UnknownKeysError refuses a mapping whose patient or doctor, or both, is not
// there; the patient also when it belongs to another user.
type UnknownKeysError struct{ Patient, Doctor bool }

func (e *UnknownKeysError) Error() string {
	return fmt.Sprintf("no such record: patient %t, doctor %t", e.Patient, e.Doctor)
}
