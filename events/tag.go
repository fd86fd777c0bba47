package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// Tag is what a query can select events by, as "name:value". Tags hold no
// personal data, no control characters, and are at most 255 bytes long.
type Tag string

// PatientTag is on every event about a patient, its mappings included.
func PatientTag(id int64) Tag { return numbered("patient:", id) }

// DoctorTag is on every event about a doctor, its mappings included.
func DoctorTag(id int64) Tag { return numbered("doctor:", id) }

// MappingTag is on every event about a mapping.
func MappingTag(id int64) Tag { return numbered("mapping:", id) }

// UserTag is on every event about a user's account.
func UserTag(id int64) Tag { return numbered("user:", id) }

// OwnerTag is on every event about a patient or mapping of that user.
func OwnerTag(user int64) Tag { return numbered("owner:", user) }

// PairTag is on every event about a mapping between this patient and doctor.
func PairTag(patient, doctor int64) Tag {
	return numbered("pair:", patient) + numbered(":", doctor)
}

// NarrowFirst answers the tags with those behind the others that many events may have: what
// a query costs depends on its first.
func NarrowFirst(tags []Tag) []Tag {
	breadth := func(tag Tag) int {
		name, _, _ := strings.Cut(string(tag), ":")
		return slices.Index([]string{"patient", "doctor", "owner"}, name)
	}
	return slices.SortedStableFunc(slices.Values(tags), func(a, b Tag) int { return breadth(a) - breadth(b) })
}

func numbered(prefix string, id int64) Tag {
	return Tag(strconv.AppendInt([]byte(prefix), id, 10))
}

// TagKey keys the tags that stand for personal data, or for what a client chose
// freely, which may hold some. It is random, made with
// the log and kept in the database beside it, never in events.
type TagKey []byte

// UserEmail tags the events that give this e-mail address to, or take it from,
// a user. The exact text counts: addresses that differ in case are different.
func (k TagKey) UserEmail(email string) Tag { return k.hashed("user-email", email) }

// DoctorEmail is the same for doctors.
func (k TagKey) DoctorEmail(email string) Tag { return k.hashed("doctor-email", email) }

// Idempotency tags the first event that a request with an idempotency key led
// to. A key counts for one user, method and path. None of the texts may hold a
// NUL.
func (k TagKey) Idempotency(user int64, method, path, key string) Tag {
	return k.hashed("idem", strconv.FormatInt(user, 10)+"\x00"+method+"\x00"+path+"\x00"+key)
}

// hashed is kind:HMAC-SHA-256(kind NUL text), in URL-safe base64.
func (k TagKey) hashed(kind, text string) Tag {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(kind))
	mac.Write([]byte{0})
	mac.Write([]byte(text))
	return Tag(kind + ":" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}
