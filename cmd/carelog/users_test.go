package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// exited is how a command ended.
type exited struct {
	status         int
	stdout, stderr string
}

// runCarelog runs a command as a process of its own, with this configuration.
func runCarelog(t *testing.T, config Config, stdin string, args ...string) exited {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Dir = t.TempDir() // without a .env
	command.Env = append(os.Environ(), asProgram+"=1", "CARELOG_DATA_DIR="+config.DataDir, "DATABASE_URL="+config.DatabaseURL, "NATS_URL="+config.NATSURL,
		"GORACE=atexit_sleep_ms=0") // else the race detector has it wait a second at its end
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v: %v", exit, err)
	}
	return exited{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// expectCarelog runs a command that must say exactly this.
func expectCarelog(t *testing.T, config Config, stdin, stdout string, args ...string) {
	t.Helper()
	began := time.Now()
	if got := runCarelog(t, config, stdin, args...); got != (exited{0, stdout, ""}) {
		t.Fatalf("carelog %s: %+v", strings.Join(args, " "), got)
	}
	t.Logf("carelog %s took %v", strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
}

func (r *running) post(t *testing.T, path, body string) reply {
	t.Helper()
	return r.send(t, "POST", path, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body))
}

// expectAnswer sends a request with a token and compares the answer.
func (r *running) expectAnswer(t *testing.T, token, method, path string, status int, body string) {
	t.Helper()
	if got := r.mustAs(t, token, method, path, "", status); !strings.Contains(string(got.body), body) {
		t.Errorf("%s %s: %s", method, path, got.body)
	}
}

const (
	inactive        = `{"detail":"User is inactive","code":"user_inactive"}`
	passwordChanged = `{"detail":"The user's password has been changed.","code":"password_changed"}`
	noAccount       = `{"detail":"No active account found with the given credentials"}`
	oldPassword     = "securepassword123"
	newPassword     = "another password 4711"
)

// TestUsersOfARunningServer: what an operator does is effective for the next
// request.
func TestUsersOfARunningServer(t *testing.T) {
	for name, config := range map[string]Config{"private": privateConfig(t), "DATABASE_URL": databaseConfig(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, config)
			access, refresh := server.register(t, "John Doe", "john@example.com", oldPassword)
			other, _ := server.register(t, "Jane \u202e", "jane@example.com", oldPassword)
			server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)

			expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "john@example.com")
			for _, request := range []string{"GET /api/patients/", "GET /api/patients/1/", "GET /api/doctors/", "POST /api/patients/", "PATCH /api/patients/9/", "DELETE /api/patients/1/", "OPTIONS /api/doctors/"} {
				method, path, _ := strings.Cut(request, " ")
				server.expectAnswer(t, access, method, path, 401, inactive)
			}
			if got := server.post(t, "/api/auth/login/", `{"username":"john@example.com","password":"`+oldPassword+`"}`); got.status != 401 || string(got.body) != noAccount {
				t.Errorf("login: %d %s", got.status, got.body)
			}
			if got := server.post(t, "/api/auth/refresh/", `{"refresh":"`+refresh+`"}`); got.status != 401 {
				t.Errorf("refresh: %d %s", got.status, got.body)
			}
			expectCarelog(t, config, "", "user 1 was disabled already\n", "users", "disable", "1")
			list := runCarelog(t, config, "", "users", "list").stdout
			if !strings.Contains(list, "john@example.com  John Doe  disabled") || !strings.Contains(list, "jane@example.com  Jane \ufffd    active") {
				t.Errorf("the list:\n%s", list)
			}
			var line struct {
				ID                 int64
				Email, Name, State string
				RegisteredAt       time.Time `json:"registered_at"`
			}
			lines := strings.Split(runCarelog(t, config, "", "users", "list", "--json").stdout, "\n")
			if err := json.Unmarshal([]byte(lines[1]), &line); err != nil || len(lines) != 3 || line.ID != 2 ||
				line.Email != "jane@example.com" || line.Name != "Jane \u202e" || line.State != "active" || time.Since(line.RegisteredAt) > time.Hour {
				t.Errorf("%v; the lines:\n%s", err, strings.Join(lines, "\n"))
			}
			server.mustAs(t, other, "GET", "/api/patients/", "", 200)

			expectCarelog(t, config, "", "user 1 is enabled\n", "users", "enable", "1")
			server.expectAnswer(t, access, "GET", "/api/patients/", 200, "Alice")
			server.login(t, "john@example.com", oldPassword)

			changePassword(t, server, config, access)
			server.mustAs(t, other, "GET", "/api/patients/", "", 200)
			expectNoSecretsInTheLog(t, server)
		})
	}
}

// changePassword gives John another password, by an operator's command, and logs
// in with it at once.
func changePassword(t *testing.T, server *running, config Config, old string) {
	t.Helper()
	_, root := server.login(t, "john@example.com", oldPassword)
	_, first := server.login(t, "john@example.com", oldPassword)
	var exchanged struct{ Access, Refresh string }
	if err := json.Unmarshal(server.post(t, "/api/auth/refresh/", `{"refresh":"`+first+`"}`).body, &exchanged); err != nil || exchanged.Refresh == "" {
		t.Fatalf("refresh: %v, %+v", err, exchanged)
	}
	expectCarelog(t, config, newPassword+"\n", "user 1 has a new password, and no token of before is valid\n", "users", "set-password", "--stdin", "john@example.com")
	access, refresh := server.login(t, "john@example.com", newPassword)

	for _, token := range []string{old, exchanged.Access} {
		server.expectAnswer(t, token, "GET", "/api/patients/", 401, passwordChanged)
		server.expectAnswer(t, token, "POST", "/api/patients/", 401, passwordChanged)
	}
	for _, token := range []string{root, first, exchanged.Refresh} {
		if got := server.post(t, "/api/auth/refresh/", `{"refresh":"`+token+`"}`); got.status != 401 {
			t.Errorf("refresh with a token of before: %d %s", got.status, got.body)
		}
	}
	if got := server.post(t, "/api/auth/login/", `{"username":"john@example.com","password":"`+oldPassword+`"}`); got.status != 401 || string(got.body) != noAccount {
		t.Errorf("login with the old password: %d %s", got.status, got.body)
	}
	server.expectAnswer(t, access, "GET", "/api/patients/", 200, "Alice")
	if err := json.Unmarshal(server.post(t, "/api/auth/refresh/", `{"refresh":"`+refresh+`"}`).body, &exchanged); err != nil {
		t.Fatal(err)
	}
	server.expectAnswer(t, exchanged.Access, "GET", "/api/patients/", 200, "Alice")
	server.mustAs(t, exchanged.Access, "POST", "/api/patients/", somePatient, 201)
}

// expectNoSecretsInTheLog: the log tells who did it, and neither password nor hash.
func expectNoSecretsInTheLog(t *testing.T, server *running) {
	t.Helper()
	url := server.program.config.DatabaseURL
	if url == "" {
		url = server.program.postgres.URL()
	}
	var text string
	err := tryQuery(t.Context(), url, `select string_agg(concat_ws(' ', type, tags, data, metadata), e'\n' order by position) from events where type like 'user.%'`, &text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, newPassword) || strings.Contains(text, "argon2") {
		t.Errorf("the log holds a password:\n%s", text)
	}
	for _, event := range []string{"user.disabled {user:1}", "user.enabled {user:1}", "user.password_changed {user:1}"} {
		want := fmt.Sprintf(`%s {"user_id":1} {"actor":{"tool":"carelog users","operator":%q}}`, event, operatorName())
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
}

// TestUsersOfSeveralServers: every server refuses the user at once.
func TestUsersOfSeveralServers(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()})
	first, second := start(t, config), start(t, config)
	access, _ := first.register(t, "John Doe", "john@example.com", oldPassword)
	for range 2 {
		expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
		first.expectAnswer(t, access, "GET", "/api/patients/", 401, inactive)
		second.expectAnswer(t, access, "GET", "/api/patients/", 401, inactive)
		expectCarelog(t, config, "", "user 1 is enabled\n", "users", "enable", "1")
		first.mustAs(t, access, "GET", "/api/patients/", "", 200)
		second.mustAs(t, access, "GET", "/api/patients/", "", 200)
	}
}

// TestUsersOfAStoppedServer: what an operator does while no server runs is
// effective for the first request to the next one.
func TestUsersOfAStoppedServer(t *testing.T) {
	for name, config := range map[string]Config{"private": privateConfig(t), "DATABASE_URL": databaseConfig(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, config)
			access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
			other, _ := server.register(t, "Jane Doe", "jane@example.com", oldPassword)
			server.stop()
			expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
			expectCarelog(t, config, newPassword, "user 2 has a new password, and no token of before is valid\n", "users", "set-password", "2", "--stdin")
			server = start(t, config)
			server.expectAnswer(t, access, "GET", "/api/patients/", 401, inactive)
			server.expectAnswer(t, other, "GET", "/api/patients/", 401, passwordChanged)
			server.login(t, "jane@example.com", newPassword)
			if state := string(server.send(t, "GET", "/readyz", nil, nil).body); !strings.Contains(state, `"applied":{"from_bus":0,"from_log":0}`) {
				t.Errorf("the commands have not applied their events: %s", state)
			}
		})
	}
}

func TestMistakesInUsersCommands(t *testing.T) {
	config := databaseConfig(t)
	start(t, config).register(t, "John Doe", "john@example.com", oldPassword)
	for _, test := range []struct {
		args   string
		stdin  string
		status int
		stderr string
	}{
		{"users frobnicate", "", exitUsage, `there is no command "frobnicate"`},
		{"users disable", "", exitUsage, "name one user, by id or e-mail address"},
		{"users disable 1 2", "", exitUsage, "name one user, by id or e-mail address"},
		{"users disable john", "", exitUsage, `"john" is neither a user's id nor an e-mail address`},
		{"users list now", "", exitUsage, "See `carelog users list --help`."},
		{"users set-password 1", newPassword, exitUsage, "give --stdin"},
		{"users set-password 1 --password x", newPassword, exitUsage, "unknown flag: --password"},
		{"users disable 9", "", exitNotFound, "carelog: there is no user with this id or e-mail address: `carelog users list` shows all\n"},
		{"users enable JOHN@example.com", "", exitNotFound, "carelog: there is no user with this id or e-mail address: `carelog users list` shows all\n"},
		{"users set-password 9 --stdin", newPassword, exitNotFound, "carelog: there is no user with this id or e-mail address: `carelog users list` shows all\n"},
		{"users set-password 1 --stdin", "short\n", exitError, "carelog: the password is refused: This password is too short. It must contain at least 8 characters.\n"},
		{"users set-password 1 --stdin", "password1", exitError, "carelog: the password is refused: This password is too common.\n"},
		{"users set-password 1 --stdin", "john@example", exitError, "carelog: the password is refused: The password is too similar to the email address.\n"},
		{"users set-password 1 --stdin", "", exitError, "carelog: the password is refused: This field may not be blank.\n"},
		{"users set-password 1 --stdin", strings.Repeat("long", 300), exitError, "carelog: the password is refused: Ensure this field has no more than 1024 bytes.\n"},
		{"users set-password 1 --stdin", "\xff" + newPassword, exitError, "carelog: the password is refused: It is not UTF-8 text.\n"},
	} {
		got := runCarelog(t, config, test.stdin, strings.Fields(test.args)...)
		if got.status != test.status || got.stdout != "" || !strings.Contains(got.stderr, test.stderr) || strings.Contains(got.stderr, "Usage:") {
			t.Errorf("%s: %+v", test.args, got)
		}
	}
	var events int
	if err := tryQuery(t.Context(), config.DatabaseURL, `select count(*) from events`, &events); err != nil || events != 1 {
		t.Errorf("%d events, %v", events, err)
	}
}
