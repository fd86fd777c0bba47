package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// process is carelog as a process of its own.
type process struct {
	*running
	command *exec.Cmd
	exited  chan struct{}
}

var servingLine = regexp.MustCompile(`msg="carelog is serving" url=(\S+)`)

// startProcess runs `carelog serve` until the test ends. It returns when the API
// answers.
func startProcess(t *testing.T, vars map[string]string) *process {
	t.Helper()
	command := exec.Command(os.Args[0], "serve")
	command.Dir = t.TempDir() // without a .env
	command.Env = append(os.Environ(), asProgram+"=1", "CARELOG_ADDR=127.0.0.1:0")
	for name, value := range vars {
		command.Env = append(command.Env, name+"="+value)
	}
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command: command, exited: make(chan struct{}), running: &running{
		secret: vars["CARELOG_JWT_SECRET"], log: &logBuffer{},
		client: newClient(t),
	}}
	serving := make(chan string, 1)
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(p.log, lines.Text())
			if found := servingLine.FindStringSubmatch(lines.Text()); found != nil {
				serving <- found[1]
			}
		}
		_ = command.Wait()
	}()
	p.stop = sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		p.wait(t)
	})
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		p.stop()
	})
	select {
	case p.url = <-serving:
	case <-p.exited:
		t.Fatalf("carelog ended:\n%s", p.log)
	case <-time.After(time.Minute):
		t.Fatalf("carelog does not start:\n%s", p.log)
	}
	return p
}

func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		_ = p.command.Process.Kill()
		t.Errorf("carelog does not stop:\n%s", p.log)
	}
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}

// TestNoAnsweredWriteIsLostByKill9 kills the server, and its PostgreSQL with it,
// under load, again and again. Every patient that was answered 201 is there
// once afterwards, and nothing is there that nobody asked for.
func TestNoAnsweredWriteIsLostByKill9(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"CARELOG_DATA_DIR": dataDir(t), "DATABASE_URL": "", "NATS_URL": ""}
	server := startProcess(t, vars)
	server.register(t, "John Doe", "john@example.com", "securepassword123")
	answered, asked := map[string]int64{}, map[string]bool{}
	var mu sync.Mutex
	const rounds, writers, enough = 3, 8, 150
	for round := range rounds {
		access, _ := server.login(t, "john@example.com", "securepassword123")
		ctx, stop := context.WithCancel(t.Context())
		reached := make(chan struct{})
		var load errgroup.Group
		count := 0
		for w := range writers {
			load.Go(func() error {
				for i := 0; ctx.Err() == nil; i++ {
					name := fmt.Sprintf("p%d-%d-%d", round, w, i)
					mu.Lock()
					asked[name] = true
					mu.Unlock()
					got, err := server.as(access, "POST", "/api/patients/", fmt.Sprintf(`{"first_name":%q,"last_name":"X","age":1,"gender":"Other"}`, name))
					if err != nil {
						return nil // killed
					}
					var patient struct{ ID int64 }
					if err := json.Unmarshal(got.body, &patient); err != nil || got.status != 201 {
						return fmt.Errorf("%d %s", got.status, got.body)
					}
					mu.Lock()
					answered[name] = patient.ID
					if count++; count == enough {
						close(reached)
					}
					mu.Unlock()
				}
				return nil
			})
		}
		select {
		case <-reached:
		case <-time.After(time.Minute):
			t.Fatal("too slow")
		}
		server.kill(t)
		stop()
		server.client.CloseIdleConnections()
		if err := load.Wait(); err != nil {
			t.Fatal(err)
		}
		server = startProcess(t, vars)
		access, _ = server.login(t, "john@example.com", "securepassword123")
		var patients []struct {
			ID        int64
			FirstName string `json:"first_name"`
		}
		list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
		if err := json.Unmarshal(list.body, &patients); err != nil {
			t.Fatal(err)
		}
		found := map[string]int64{}
		for _, p := range patients {
			if found[p.FirstName] != 0 {
				t.Errorf("%s is there twice", p.FirstName)
			}
			if !asked[p.FirstName] {
				t.Errorf("%s is there, and nobody asked for it", p.FirstName)
			}
			found[p.FirstName] = p.ID
		}
		for name, id := range answered {
			if found[name] != id {
				t.Errorf("%s was answered with id %d and is there with %d", name, id, found[name])
			}
		}
		t.Logf("round %d: %d answered, %d there", round+1, len(answered), len(found))
	}
}
