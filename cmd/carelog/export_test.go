package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// writeLog makes a log with a bit of all: two users, records that are amended and
// removed with cascades, mappings, idempotency keys, texts of every kind, refused
// requests, and what an operator does.
func writeLog(t *testing.T, server *running, config Config) {
	t.Helper()
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, refresh := server.register(t, "Jane Röe 😀", "jane@example.com", oldPassword)
	server.mustAs(t, jane, "POST", "/api/auth/refresh/", `{"refresh":"`+refresh+`"}`, 200)
	for i, name := range []string{"Alice", "Bob", "Ægir \\\"<&>\\u2028\\u0001", "张伟 👩‍⚕️"} {
		body := fmt.Sprintf(`{"first_name":"%s","last_name":"Smith","age":%d,"gender":"Other"}`, name, 20+i)
		server.mustAs(t, john, "POST", "/api/patients/", body, 201)
		server.mustAs(t, jane, "POST", "/api/patients/", body, 201)
		server.mustAs(t, john, "POST", "/api/doctors/", fmt.Sprintf(
			`{"first_name":"%s","last_name":"House","specialization":"Cardiology","email":"doctor%d@example.com","phone":"+123456789%d"}`, name, i, i), 201)
	}
	for _, pair := range []string{`{"patient":1,"doctor":1}`, `{"patient":1,"doctor":2}`, `{"patient":3,"doctor":1}`, `{"patient":5,"doctor":3}`} {
		server.mustAs(t, john, "POST", "/api/patients/mappings/", pair, 201)
	}
	server.mustAs(t, john, "PATCH", "/api/patients/1/", `{"last_name":"Jones","age":31}`, 200)
	server.mustAs(t, john, "PATCH", "/api/doctors/2/", `{"email":"another@example.com"}`, 200)
	server.mustAs(t, john, "DELETE", "/api/doctors/1/", "", 204) // with two mappings
	server.mustAs(t, john, "DELETE", "/api/patients/5/", "", 204)
	server.mustAs(t, john, "DELETE", "/api/patients/2/", "", 404)
	server.mustWith(t, john, "POST", "/api/patients/", somePatient, 201, "Idempotency-Key: the key of a test")
	expectCarelog(t, config, "", "user 2 is disabled\n", "users", "disable", "2")
	expectCarelog(t, config, "", "user 2 is enabled\n", "users", "enable", "2")
}

// reads are all GETs of the API that the log decides.
var reads = []string{
	"/api/patients/", "/api/patients/1/", "/api/patients/2/", "/api/patients/5/", "/api/patients/?limit=2&offset=1", "/api/doctors/", "/api/doctors/1/", "/api/doctors/2/",
	"/api/patients/mappings/", "/api/patients/mappings/1/", "/api/patients/1/history/", "/api/patients/5/history/", "/api/doctors/1/history/",
	"/api/patients/?as_of=10", "/api/patients/1/?as_of=12", "/api/doctors/?as_of=15", "/api/patients/mappings/?as_of=18",
}

var hostOfURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// answers are those to all reads, of a user.
func answers(t *testing.T, server *running, token string) string {
	t.Helper()
	var all strings.Builder
	for _, path := range reads {
		got, err := server.as(token, "GET", path, "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s: %d %s %s\n", path, got.status, got.header.Get("Etag"), hostOfURL.ReplaceAll(got.body, nil))
	}
	return all.String()
}

// logRows are all rows of the log up to a position, as SQL has them, byte for byte.
func logRows(t *testing.T, database string, until int64) string {
	t.Helper()
	return query[string](t, database, fmt.Sprintf(`select string_agg(r, e'\n' order by r) from (
		select format('%%s %%s %%s %%s %%s|%%s|%%s|%%s %%s', position, id, type, schema_version, tags, data::text, metadata::text, encode(salt, 'hex'), extract(epoch from recorded_at)) as r
		from events where position <= %[1]d
		union all select format('%%s %%s %%s', tag, type, position) from event_tags where position <= %[1]d) as rows`, until))
}

// emptyConfig uses a database that has never been a server's.
func emptyConfig(t *testing.T) Config {
	t.Helper()
	config := databaseConfig(t)
	runSQL(t, config.DatabaseURL, `drop schema accounts cascade; drop schema projections cascade; drop schema public cascade; create schema public`)
	return config
}

// mustCarelog runs a command that must succeed.
func mustCarelog(t *testing.T, config Config, args ...string) exited {
	t.Helper()
	got := runCarelog(t, config, "", args...)
	if got.status != 0 {
		t.Fatalf("carelog %s: %+v", strings.Join(args, " "), got)
	}
	return got
}

// TestALogTravels from a running server into a database that is new, and a server on
// that cannot be told from the first: it gives the same answers, knows the passwords and
// tokens, answers the retry of a request as the first did, and goes on with other ids.
func TestALogTravels(t *testing.T) {
	t.Parallel()
	from, to := databaseConfig(t), emptyConfig(t)
	server := start(t, from)
	writeLog(t, server, from)
	dir, passwords := filepath.Join(t.TempDir(), "export"), filepath.Join(t.TempDir(), "accounts")
	var done exported
	got := mustCarelog(t, from, "export", dir, "--accounts", passwords, "--json")
	head := query[int64](t, from.DatabaseURL, `select max(position) from events`)
	if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || done.Events != head || done.Last != 0 && int64(done.Last) != head || done.Accounts.Credentials != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	if info, err := os.Stat(passwords); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	john, _ := server.login(t, "john@example.com", oldPassword)
	jane, janesRefresh := server.login(t, "jane@example.com", oldPassword)
	// A user who registers after the log was exported, and is in the accounts.
	server.register(t, "Late", "late@example.com", oldPassword)
	mustCarelog(t, from, "export", "--accounts", passwords)
	wantJohn, wantJane := answers(t, server, john), answers(t, server, jane)
	want := logRows(t, from.DatabaseURL, head)

	var in imported
	got = mustCarelog(t, to, "import", dir, "--accounts", passwords, "--json")
	if err := json.Unmarshal([]byte(got.stdout), &in); err != nil || in.Events != head || int64(in.Position) != head+1 || in.Accounts.Credentials != 2 {
		t.Fatalf("%+v, %v", in, err)
	}
	if now := logRows(t, to.DatabaseURL, head); now != want {
		t.Errorf("the log was\n%s\nand is\n%s", want, now)
	}
	last := query[string](t, to.DatabaseURL, `select type || data || metadata from events order by position desc limit 1`)
	if !strings.HasPrefix(last, `log.imported{"source_log":"`+done.Log.String()) || !strings.Contains(last, done.Manifest) ||
		!strings.Contains(last, `"tool":"carelog import","operator":"`+operatorName()) {
		t.Errorf("the last event is %s", last)
	}
	if id := query[string](t, to.DatabaseURL, `select id::text from log`); id != in.Log.String() || id == done.Log.String() {
		t.Errorf("log %s was imported as %s", done.Log, id)
	}
	if got := mustCarelog(t, to, "projections", "verify"); !strings.Contains(got.stdout, fmt.Sprintf("at position %d, 0 differ", head+1)) {
		t.Errorf("%+v", got)
	}

	second := start(t, to) // it signs with the same key
	if now := answers(t, second, john); now != wantJohn {
		t.Errorf("John was answered\n%s\nand is\n%s", wantJohn, now)
	}
	if now := answers(t, second, jane); now != wantJane {
		t.Errorf("Jane was answered\n%s\nand is\n%s", wantJane, now)
	}
	second.login(t, "john@example.com", oldPassword)
	second.mustAs(t, "", "POST", "/api/auth/refresh/", `{"refresh":"`+janesRefresh+`"}`, 200)
	if got := second.post(t, "/api/auth/login/", `{"username":"late@example.com","password":"`+oldPassword+`"}`); got.status != 401 {
		t.Errorf("a user who is not in the log logs in: %d", got.status)
	}
	if got := second.post(t, "/api/auth/register/", `{"name":"X","email":"john@example.com","password":"`+oldPassword+`"}`); got.status != 400 {
		t.Errorf("an e-mail address is registered twice: %d %s", got.status, got.body)
	}
	retried := second.mustWith(t, john, "POST", "/api/patients/", somePatient, 201, "Idempotency-Key: the key of a test")
	if id := idOf(t, retried); id != 9 {
		t.Errorf("a retry made patient %d", id)
	}
	if id := idOf(t, second.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)); id != 10 {
		t.Errorf("a new patient has the id %d", id)
	}
	second.register(t, "New", "new@example.com", oldPassword) // under the id of the late one
	if n := query[int](t, to.DatabaseURL, `select count(*) from events`); n != int(head)+3 {
		t.Errorf("%d events", n)
	}
	if ready := second.send(t, "GET", "/readyz", http.Header{}, nil); ready.status != 200 {
		t.Errorf("%s", ready.body)
	}
	if got := mustCarelog(t, to, "events", "--type", "log.imported"); !strings.Contains(got.stdout, "carelog import") {
		t.Errorf("%+v", got)
	}

	// An export of the imported log is one of another log.
	if got := runCarelog(t, to, "", "export", dir); got.status != exitError || !strings.Contains(got.stderr, "holds an export of the log "+done.Log.String()) {
		t.Errorf("%+v", got)
	}
	again, third := filepath.Join(t.TempDir(), "again"), emptyConfig(t)
	mustCarelog(t, to, "export", again)
	mustCarelog(t, third, "import", again)
	if logRows(t, third.DatabaseURL, head+3) != logRows(t, to.DatabaseURL, head+3) {
		t.Error("a log that was imported travels as another")
	}
	server = start(t, third)
	if got := server.post(t, "/api/auth/login/", `{"username":"john@example.com","password":"`+oldPassword+`"}`); got.status != 401 {
		t.Errorf("without accounts one logs in: %d", got.status)
	}
	if now := answers(t, server, jane); now != wantJane {
		t.Errorf("Jane was answered\n%s\nand is\n%s", wantJane, now)
	}
}

// TestALogTravelsIntoAPrivateDatabase, which is made for it, and also into one that a
// server has made and that is empty.
func TestALogTravelsIntoAPrivateDatabase(t *testing.T) {
	t.Parallel()
	from := databaseConfig(t)
	server := start(t, from)
	writeLog(t, server, from)
	john, _ := server.login(t, "john@example.com", oldPassword)
	dir := filepath.Join(t.TempDir(), "export")
	mustCarelog(t, from, "export", dir)
	want := answers(t, server, john)
	made := databaseConfig(t)
	start(t, made).stop()
	for name, to := range map[string]Config{"private": privateConfig(t), "empty": made} {
		mustCarelog(t, to, "import", dir)
		to.JWTSecret = []byte(testSecret)
		second := start(t, to)
		if now := answers(t, second, john); now != want {
			t.Errorf("%s: John was answered\n%s\nand is\n%s", name, want, now)
		}
		got := runCarelog(t, to, "", "import", dir)
		if got.status != exitError || !strings.Contains(got.stderr, "a carelog server runs on this database") && !strings.Contains(got.stderr, "is in use by another carelog") {
			t.Errorf("%s: beside a server: %+v", name, got)
		}
		second.stop()
		if got := runCarelog(t, to, "", "import", dir); got.status != exitError || !strings.Contains(got.stderr, "the log of this database is not empty: import into a new one") {
			t.Errorf("%s: into a log that is not empty: %+v", name, got)
		}
	}
}

// TestSelectionsAreExported, and not imported.
func TestSelectionsAreExported(t *testing.T) {
	t.Parallel()
	from := databaseConfig(t)
	server := start(t, from)
	writeLog(t, server, from)
	to := emptyConfig(t)
	for _, c := range []struct {
		args, where string
	}{
		{"--tag patient:1", `'patient:1' = any(tags)`},
		{"--type doctor", `type like 'doctor.%'`},
		{"--type patient.registered --type patient.removed --after 4", `type in ('patient.registered', 'patient.removed') and position > 4`},
		{"--until 7", `position <= 7`},
		{"--after 3 --until 9", `position between 4 and 9`},
		{"--actor carelog¤users", `metadata->'actor'->>'tool' = 'carelog users'`},
		{"--tag patient:77", `false`},
	} {
		dir := filepath.Join(t.TempDir(), "export")
		args := append([]string{"export", dir, "--json"}, strings.Fields(c.args)...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "¤", " ")
		}
		var done exported
		got := mustCarelog(t, from, args...)
		want := query[int64](t, from.DatabaseURL, `select count(*) from events where `+c.where)
		if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || done.Events != want || !done.Selected || c.where != "false" && want == 0 {
			t.Errorf("%s: %+v, want %d events, %v", c.args, done, want, err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "manifest.json")); err != nil || strings.Contains(string(text), "tag_key") {
			t.Errorf("%s: the manifest has the log's key, %v", c.args, err)
		}
		if got := runCarelog(t, to, "", "import", dir); got.status != exitDamaged || !strings.Contains(got.stderr, "export of a part of a log") {
			t.Errorf("%s: imported: %+v", c.args, got)
		}
		if got := mustCarelog(t, from, args[:len(args):len(args)]...); !strings.Contains(got.stdout, `"added":0`) {
			t.Errorf("%s again: %+v", c.args, got)
		}
	}
	if n := query[int](t, to.DatabaseURL, `select count(*) from pg_tables where schemaname = 'public'`); n != 0 {
		t.Errorf("refused imports left %d tables", n)
	}

}

// TestAnExportOfAGrownLogGoesOn, and is told when there is nothing to add.
func TestAnExportOfAGrownLogGoesOn(t *testing.T) {
	t.Parallel()
	from := databaseConfig(t)
	server := start(t, from)
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	dir := filepath.Join(t.TempDir(), "export")
	for round := range 3 {
		got := mustCarelog(t, from, "export", dir)
		if want := fmt.Sprintf("%d events, 1 of them new, in %d files", round+1, round+1); !strings.Contains(got.stdout, want) {
			t.Errorf("%+v, want %s", got, want)
		}
		if got := mustCarelog(t, from, "export", dir); !strings.Contains(got.stdout, fmt.Sprintf("holds the log up to position %d already", round+1)) {
			t.Errorf("%+v", got)
		}
		server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	}
	to := emptyConfig(t)
	mustCarelog(t, to, "import", dir)
	if logRows(t, from.DatabaseURL, 3) != logRows(t, to.DatabaseURL, 3) {
		t.Error("the imported log differs")
	}
	// As an import leaves them that ends when the log is there: the server fills them.
	runSQL(t, to.DatabaseURL, `delete from projections.checkpoints; truncate projections.users, projections.patients`)
	if list := start(t, to).mustWith(t, john, "GET", "/api/patients/", "", 200, "Carelog-Min-Position: 3"); strings.Count(string(list.body), `"id":`) != 2 {
		t.Errorf("%s", list.body)
	}
	server.stop()
	runSQL(t, from.DatabaseURL, `delete from events where position > 1`)
	if got := runCarelog(t, from, "", "export", dir); got.status != exitError || !strings.Contains(got.stderr, "the log ends at 1: the database was put back") {
		t.Errorf("%+v", got)
	}
}

// TestMistakesInExports are one clear line, and leave nothing.
func TestMistakesInExports(t *testing.T) {
	t.Parallel()
	from, to := databaseConfig(t), emptyConfig(t)
	server := start(t, from)
	server.register(t, "John Doe", "john@example.com", oldPassword)
	good, passwords := filepath.Join(t.TempDir(), "export"), filepath.Join(t.TempDir(), "accounts")
	mustCarelog(t, from, "export", good, "--accounts", passwords)
	const segment = "events-000000000001.ndjson.zst"
	damaged := func(change func(dir string) error) string {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	in := func(name string) func(string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), 50) }
	}
	replaced := func(old, replacement string) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, "manifest.json")
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, replacement)), 0o600)
		}
	}
	half := filepath.Join(t.TempDir(), "half")
	if err := os.WriteFile(half, []byte(readText(t, passwords)[:200]), 0o600); err != nil {
		t.Fatal(err)
	}
	letter := filepath.Join(t.TempDir(), "letter")
	if err := os.WriteFile(letter, []byte("Dear John"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config Config
		status int
		stderr string
		args   []string
	}{
		{from, exitUsage, "name a directory, or a file with --accounts", []string{"export"}},
		{from, exitUsage, "name a file outside of the export's directory", []string{"export", good, "--accounts", filepath.Join(good, "accounts")}},
		{from, exitUsage, "before 99", []string{"export", good, "--until", "99"}},
		{from, exitUsage, "no type of events", []string{"export", good, "--type", "letter"}},
		{from, exitError, "holds an export of another selection", []string{"export", good, "--until", "1"}},
		{from, exitError, "is there, and is no file of accounts", []string{"export", "--accounts", letter}},
		{from, exitError, "is there, and is no file of accounts", []string{"export", "--accounts", t.TempDir()}},
		{from, exitError, "not a directory", []string{"export", letter}},
		{from, exitDamaged, segment, []string{"export", damaged(in(segment))}},
		{to, exitUsage, "name the directory of an export", []string{"import"}},
		{to, exitNotFound, "there is no export in", []string{"import", filepath.Join(good, "nowhere")}},
		{to, exitNotFound, "there is no file", []string{"import", good, "--accounts", filepath.Join(good, "nowhere")}},
		{to, exitDamaged, "this is no file of accounts", []string{"import", good, "--accounts", letter}},
		{to, exitDamaged, "damaged or not whole", []string{"import", good, "--accounts", half}},
		{to, exitDamaged, segment + " has 50 bytes", []string{"import", damaged(in(segment))}},
		{to, exitDamaged, segment + " is missing", []string{"import", damaged(func(dir string) error { return os.Remove(filepath.Join(dir, segment)) })}},
		{to, exitDamaged, "manifest.json is no JSON", []string{"import", damaged(in("manifest.json"))}},
		{to, exitDamaged, "format version 2", []string{"import", damaged(replaced(`"version": 1`, `"version": 2`))}},
		{to, exitDamaged, `"user.vaccinated"`, []string{"import", damaged(replaced("user.registered", "user.vaccinated"))}},
		{to, exitDamaged, "was interrupted and is not whole", []string{"import", damaged(func(dir string) error {
			return os.Rename(filepath.Join(dir, "manifest.json"), filepath.Join(dir, "manifest.partial.json"))
		})}},
		{from, exitError, "a carelog server runs on this database", []string{"import", good}},
	} {
		got := runCarelog(t, c.config, "", c.args...)
		if got.status != c.status || !strings.Contains(got.stderr, c.stderr) || got.stdout != "" {
			t.Errorf("carelog %s: %+v", strings.Join(c.args, " "), got)
		}
		checkNoPersonalData(t, "a message", got.stderr)
	}
	if n := query[int](t, to.DatabaseURL, `select count(*) from pg_tables where schemaname = 'public'`); n != 0 {
		t.Errorf("refused imports left %d tables", n)
	}
	if text := readText(t, letter); text != "Dear John" {
		t.Errorf("a letter was overwritten by %q", text)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestARoleThatIsNotTheOwnerCannotImport, and is told so.
func TestARoleThatIsNotTheOwnerCannotImport(t *testing.T) {
	from, to := databaseConfig(t), databaseConfig(t)
	start(t, from).stop()
	dir := filepath.Join(t.TempDir(), "export")
	mustCarelog(t, from, "export", dir)
	owner, err := pgx.Connect(t.Context(), to.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.NewReplacer("carelog_test", "importer", "-", "_").Replace(owner.Config().Database)
	if _, err := owner.Exec(t.Context(), strings.ReplaceAll(`create role ROLE login; grant select, insert on events, event_tags, log, migrations to ROLE; grant usage on schema projections, accounts to ROLE`, "ROLE", role)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
			t.Error(err)
		}
		owner.Close(context.Background())
	})
	restricted, err := url.Parse(to.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	restricted.User = url.User(role)
	other := to
	other.DatabaseURL = restricted.String()
	if got := runCarelog(t, other, "", "import", dir); got.status != exitError || !strings.Contains(got.stderr, "do it as the owner of the database") {
		t.Errorf("%+v", got)
	}
	if n := query[int](t, to.DatabaseURL, `select count(*) from events`); n != 0 {
		t.Errorf("%d events are left", n)
	}
	mustCarelog(t, to, "import", dir)
}
