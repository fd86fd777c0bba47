// Package accounts keeps what must not be in the log: the hashes of passwords
// and the state of refresh tokens. The log is never changed, and these must be
// able to go.
//
// # Credentials
//
// A credential is keyed by the user id that was drawn for a registration and
// stored before user.registered is appended. So of two registrations of one
// e-mail address only the winner's password logs in, and a registration that is
// interrupted leaves at worst a row that opens no account: without its event
// there is no such user. Such rows are swept after a day.
//
// The sweep is the one place where this package looks at the log: it asks the
// tags of events in SQL whether a user was registered. Asking event by event
// through the log's API would mean to load it; the tag and the type are written
// down in migrations and golden files and never change their meaning.
//
// A changed password is stored before user.password_changed is appended; that
// event is what ends the tokens of before, by their epoch (package projections).
//
// # Refresh tokens
//
// A refresh token is exchanged for a successor once. The chain of tokens that
// begins with one login is a family, and at most one token of it is live. Using
// another again means that somebody has a copy, and nobody can tell who: the
// whole family is revoked (RFC 9700, section 4.14.2). The client that lost its
// answer to an exchange, or exchanged one token twice at the same time, has to
// log in again.
//
// Nothing is stored at login. A token that was never seen is the root of a
// family of its own: its signature says that it was given out, and tokens of an
// application that was replaced, signed with the same key, go on working.
// Signature, type and expiry are checked before; what is here is only the
// state that a signature cannot show.
//
// Both are guaranteed by the database, for any number of processes: each
// exchange is one statement that updates the family's row on the condition that
// the token is the live one.
//
// # Files
//
// [WriteTo] writes all accounts into a file, and [ReadFrom] stores those of it whose
// users are in the log. They are never among exported events: a log is for many eyes,
// and a file of hashes is for nobody's, since passwords can be tried against it.
//
// # Errors
//
// A database that cannot be reached now is an error that wraps
// [events.ErrUnavailable], the one thing this package uses of events.
package accounts
