// Package archive keeps a log, or a part of it, in files: what `carelog export`
// writes and `carelog import` reads.
//
// # The directory
//
//	manifest.json                      what there is, written last: with it the export is whole
//	manifest.partial.json              the same while the export is under way
//	events-000000000001.ndjson.zst     a segment: events, from this position on
//
// A segment is NDJSON, compressed with Zstandard (RFC 8878), and has 100,000 events or
// 256 MiB of lines at most. Each file is written under another name, synced, renamed,
// and listed in the manifest only then. So an export that was interrupted, in whatever
// way, goes on behind the last segment that is listed, and what manifest.json lists is
// there. An export goes on in the same way when the log has grown.
//
// # A line
//
//	{"position":1,"id":"0198…","type":"patient.registered","schema_version":1,
//	 "tags":["patient:1","owner:1"],"data":{…},"metadata":{…},
//	 "salt":"<base64>","recorded_at":"2025-09-01T23:35:09.123456Z"}
//
// data and metadata are the JSON documents of the log byte for byte, as they may be
// covered by proofs. A document that does not fit into a line as it is, since it holds a
// line break or begins or ends with white space, is a string in data_text or
// metadata_text instead. Carelog itself writes none. recorded_at has all of its
// microseconds.
//
// # The manifest
//
// It tells which log this is, what was selected, how many events of which types there
// are, and for each segment its size and the SHA-256 of the file and of the lines in it:
// both, because damage is to be found before anything is unpacked, and because the lines
// stay the same when somebody compresses them anew. The hashes tell damage. Against
// somebody who forges an export they do nothing: who can write to the
// directory can write the manifest, too.
//
// The manifest of a whole export holds the log's tag key. It keys the tags that stand
// for e-mail addresses and idempotency keys; with another one nobody could log in, the
// address of a user could be registered again, and a retry would be carried out twice.
// So it must travel with the events: an import without passwords needs it as well. What
// it protects is the address behind a tag, and the events beside it tell that in
// plain text, so it is no worse to lose than they are. The export of a part, which may be
// meant for others and cannot be imported, has no key.
//
// An export is as personal as the log: directories are made with mode 0700, and files
// with 0600. Passwords are not in it (package accounts).
//
// # Why not
//
//   - gzip: of the standard library, but even at its fastest it takes more than
//     twice as long, for files that are a fifth larger (BenchmarkCompression). The fastest
//     level of Zstandard, because higher ones take twice as long and save nothing here.
//   - One file: it could not be gone on with, nor be checked in part.
//   - pg_dump: it is a backup, with read tables and all, of one version of the schema;
//     an export is the log, for another installation and for other programs.
package archive
