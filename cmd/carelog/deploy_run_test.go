package main

import (
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runScript runs a script of a page as it stands.
func runScript(t *testing.T, dir, page, name string, variables ...string) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "sh", "-euc", readBlock(t, page, name))
	shell.Dir, shell.Env = dir, append(os.Environ(), variables...)
	if output, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, output)
	}
}

// TestComposeByHand does what `docker compose up` would: it makes the image, the roles of
// PostgreSQL, and a NATS server; migrates as the owner; and starts both servers, each with
// the environment that compose.yaml gives it.
func TestComposeByHand(t *testing.T) {
	t.Parallel()
	secrets := secretsOf(t)
	services := compose(t, secrets, "compose.yaml").Services
	database, broker := startComposed(t, services)
	hosts := strings.NewReplacer("@postgres:5432", "@"+database, "@n1:4222", "@"+broker)
	i := buildImage(t)
	i.lock(t)
	i.mustBeAnImage(t)
	environment := func(name string) map[string]string {
		env := map[string]string{}
		for variable, value := range services[name].Environment {
			env[variable] = hosts.Replace(value)
		}
		return env
	}

	migrate := environment("migrate")
	for _, want := range []string{"migrated the database from schema version 0 to ", "already; role carelog_app can serve"} {
		if output, err := i.process(t.Context(), migrate, services["migrate"].Command...).CombinedOutput(); err != nil || !strings.Contains(string(output), want) {
			t.Fatalf("migrate: %v: %s", err, output)
		}
	}
	var servers []*running
	for _, name := range []string{"carelog-1", "carelog-2"} {
		env := environment(name)
		env["CARELOG_ADDR"] = freeAddress(t) // in place of a network of its own
		stop := i.serve(t, env)
		servers = append(servers, &running{url: "http://" + env["CARELOG_ADDR"], client: newClient(t), stop: stop})
	}
	access, _ := servers[0].register(t, "John Doe", "john@example.com", "securepassword123")
	servers[0].mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	servers[1].mustAs(t, access, "GET", "/api/patients/1/", "", 200)
	if got := servers[1].send(t, "GET", "/readyz", nil, nil); !strings.Contains(string(got.body), `{"name":"nats","ok":true}`) {
		t.Errorf("/readyz: %s", got.body)
	}
	for _, s := range servers {
		s.client.CloseIdleConnections()
		s.stop()
	}
}

// startComposed starts PostgreSQL and NATS as the services of compose.yaml, and answers
// where they are.
func startComposed(t *testing.T, services map[string]composeService) (database, broker string) {
	t.Helper()
	installed, err := findPostgres("", 0)
	if err != nil {
		t.Fatal(err)
	}
	if installed.major < 15 {
		t.Skipf("PostgreSQL is %v, and psql has \\getenv from version 15 on, so deploy/compose.yaml was not tried", installed)
	}
	server := newOwnPostgres(t).server
	runSQL(t, server.database("postgres"), `drop database carelog`)
	roles := exec.CommandContext(t.Context(), "../../deploy/postgres/roles.sh")
	roles.Env = []string{"PATH=" + installed.bin + ":" + os.Getenv("PATH"), "PGHOST=" + server.home.socket, "PGPORT=5432", "POSTGRES_USER=carelog"}
	for name, value := range services["postgres"].Environment {
		roles.Env = append(roles.Env, name+"="+value)
	}
	if output, err := roles.CombinedOutput(); err != nil || len(output) > 0 {
		t.Fatalf("roles.sh: %v: %s", err, output)
	}
	const withPassword = `select count(*) from pg_authid where rolname in ('carelog_owner', 'carelog_app') and rolpassword like 'SCRAM%' and not rolsuper`
	if count := query[int](t, server.database("carelog"), withPassword); count != 2 {
		t.Errorf("%d roles have a password", count)
	}
	through, _ := newProxy(t, server.database("carelog"))

	program, err := natsServerProgram()
	if err != nil {
		t.Fatalf("build nats-server: %v", err)
	}
	broker = freeAddress(t)
	health := services["n1"].Healthcheck.Test[len(services["n1"].Healthcheck.Test)-1]
	monitor := freeAddress(t)
	_, port, _ := strings.Cut(monitor, ":")
	var args []string
	for _, arg := range services["n1"].Command {
		args = append(args, strings.NewReplacer("/etc/nats/", "../../deploy/nats/", "8222", port).Replace(arg))
	}
	nats := exec.Command(program, args...)
	nats.Env = os.Environ()
	env := maps.Clone(services["n1"].Environment)
	env["NATS_CLIENTS"], env["NATS_STORE"] = broker, t.TempDir()
	for name, value := range env {
		nats.Env = append(nats.Env, name+"="+value)
	}
	if err := nats.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nats.Process.Kill()
		_ = nats.Wait()
	})
	eventually(t, "the NATS server is healthy", 30*time.Second, func() bool {
		status, _, err := get(t.Context(), strings.Replace(health, "127.0.0.1:8222", monitor, 1))
		return err == nil && status == http.StatusOK
	})
	return through.listener.Addr().String(), broker
}

// serve starts a server of the image, and returns when the image's health check says that
// it can serve.
func (i *image) serve(t *testing.T, env map[string]string) (stop func()) {
	t.Helper()
	log := &logBuffer{}
	server := i.process(t.Context(), env, i.command...)
	server.Stderr = log
	healthy := func() bool { return i.process(t.Context(), env, i.health[1:]...).Run() == nil }
	if healthy() {
		t.Error("a server is healthy that does not run yet")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { // as a container engine does
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil || !strings.Contains(log.String(), `"msg":"carelog is stopping"`) {
			t.Errorf("stopped, the server ends with %v:\n%s", err, log)
		}
	})
	t.Cleanup(stop)
	eventually(t, "a server is healthy", time.Minute, func() bool {
		if strings.Contains(log.String(), "carelog: ") {
			t.Fatalf("the server ended:\n%s", log)
		}
		return healthy()
	})
	return stop
}
