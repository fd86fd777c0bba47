// Package events is Carelog's vocabulary: what can happen to users, patients,
// doctors and mappings, and the words in which the log is asked about it.
//
// An [Event] has a type (a constant in the past tense, never derived from a Go
// type name), a schema version, tags and JSON data. Once stored it is a
// [Recorded] with a [Position]: gapless, starting at 1, in the order of commit.
//
// # Consistency
//
// There are no streams and no versions. A command reads the events that a
// [Query] selects, or a [Snapshot] of what those up to a position have made,
// decides, and appends with an [AppendCondition]: "fail if an event that matches
// this query exists after that position". This is the
// Dynamic Consistency Boundary (dcb.events). Five of the six rules of this
// domain cross records (a unique e-mail of users, one of doctors, a unique pair
// of patient and doctor, a mapping needs both alive, removing either ends its
// mappings), so one mechanism serves them all and no reservation tables or
// sagas are needed.
//
// # Tags
//
// Tags are what queries select by; see tag.go for each. They hold no personal
// data: an e-mail address becomes an HMAC keyed by a random key that lives
// beside the log ([TagKey]).
//
// # Versions
//
// The [Registry] maps a type and a schema version to a Go struct. What was
// written is never rewritten: old data is lifted to the current version by a
// chain of upcasters when it is read. A version, once written, is pinned by a
// golden file in testdata, and the test fails when its reading changes.
//
// Others are told the form of data by the JSON Schemas that package schema holds.
// They are made of the structs: a comment is the description, a field without
// omitempty is required, an integer whose name ends with _id is 1 or more, an
// event called amended has at least one field that need not be there, and a field's
// tag may say more: `schema:"minimum=0"`.
//
// To add an event: a type constant, a struct and a line in the register
// function of its file, a golden file, its handling in the projection of
// the same name, and make generate. To change one: a new struct, the old version
// kept as an upcaster, make generate.
//
// This package imports nothing of Carelog's, no database and no bus.
package events
