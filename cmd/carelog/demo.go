package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// demoPassword opens the account of a demonstration on a server of this machine, and
// nowhere else.
const demoPassword = "a thousand made-up patients"

// demoPasswordVariable of the environment has the password for a server elsewhere.
const demoPasswordVariable = "CARELOG_DEMO_PASSWORD"

// demoAtOnce is how many requests are under way.
const demoAtOnce = 8

func newDemoCommand() *cobra.Command {
	var d demo
	var at, email string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Fill a running server with made-up patients and doctors",
		Long: `Fill a running server with made-up patients, doctors and mappings, by its public
API, to have something to look at. They belong to an account that is opened for
them. Some are amended, and some mappings removed, so that there is a history.

Run again it does nothing twice: it goes on where it was interrupted, or finds that
all is there. Another --seed makes up others.

On a server of this machine the account's password is ` + demoPassword + `. For
one elsewhere choose one, and set CARELOG_DEMO_PASSWORD.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := newDemoClient(at, email, os.Getenv(demoPasswordVariable))
			if err == nil && (d.patients < 1 || d.doctors < 1) {
				err = errors.New("--patients and --doctors must be 1 or more")
			}
			if err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			d.client, d.w = client, cmd.ErrOrStderr()
			began := time.Now()
			if err := d.run(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), demoDone, client.url, d.patients, d.doctors, d.mapped.Load(), time.Since(began).Seconds(), client.email, client.shownPassword(), d.first)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&at, "url", "http://127.0.0.1:8000", "`url` of the server")
	flags.IntVar(&d.patients, "patients", 1000, "`number` of patients")
	flags.IntVar(&d.doctors, "doctors", 50, "`number` of doctors")
	flags.Uint64Var(&d.records.seed, "seed", 1, "`number` that decides what is made up")
	flags.StringVar(&email, "email", "demo@carelog.example", "`address` of the account")
	for _, flag := range []string{"url", "patients", "doctors", "seed", "email"} {
		completeFlag(cmd, flag)
	}
	return cmd
}

const demoDone = `%[1]s has %[2]d patients, %[3]d doctors and %[4]d mappings of the demonstration, after %.1[5]f s.
They belong to %[6]s%[7]s

The API, in a browser:   %[1]s/api/docs/
With the server of make run:
The history of one:      bin/carelog history patient %[8]d --data-dir .carelog
The log, its beginning:  bin/carelog events --limit 20 --data-dir .carelog
`

// newDemoClient checks what is given.
func newDemoClient(at, email, password string) (*demoClient, error) {
	server, err := url.Parse(at)
	if err != nil || server.Host == "" || server.Scheme != "http" && server.Scheme != "https" {
		return nil, errors.New("--url: give the URL of the server, as http://127.0.0.1:8000")
	}
	if ip := net.ParseIP(server.Hostname()); password == "" && server.Hostname() != "localhost" && !ip.IsLoopback() {
		return nil, errors.New("CARELOG_DEMO_PASSWORD: not set, and the server is not on this machine: set it to a password for the account")
	}
	if password == "" {
		password = demoPassword
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = demoAtOnce
	return &demoClient{url: strings.TrimSuffix(at, "/"), email: email, password: password, http: &http.Client{Transport: transport}}, nil
}

// demo fills a server.
type demo struct {
	client            *demoClient
	records           demoRecords
	patients, doctors int
	mapped            atomic.Int64
	first             int64 // patient's id
	w                 io.Writer

	mu    sync.Mutex
	there map[string]int64 // doctors, by address; nil until somebody has asked
}

// run goes step by step: each needs the ids of those before. Every request has a key
// of its own that the next run has as well, so none is carried out twice.
func (d *demo) run(ctx context.Context) error {
	defer d.client.http.CloseIdleConnections()
	if err := d.client.register(ctx, "Demonstration"); err != nil {
		return err
	}
	var done atomic.Int64
	total := int64(d.doctors + 2*d.patients)
	progress := newProgress(d.w, "records")
	defer progress.end()
	each := func(n int, do func(ctx context.Context, i int) error) error {
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(demoAtOnce)
		for i := range n {
			if ctx.Err() != nil {
				break
			}
			all.Go(func() error {
				err := do(ctx, i)
				done.Add(1)
				return err
			})
			progress.show(done.Load(), total)
		}
		return all.Wait()
	}
	doctors, patients := make([]int64, d.doctors), make([]int64, d.patients)
	err := each(d.doctors, func(ctx context.Context, i int) (err error) {
		doctors[i], err = d.addDoctor(ctx, i)
		return err
	})
	if err == nil {
		err = each(d.patients, func(ctx context.Context, i int) (err error) {
			patients[i], err = d.create(ctx, "/api/patients/", fmt.Sprintf("patient-%d", i), d.records.patient(i))
			return err
		})
	}
	if err == nil {
		d.first = patients[0]
		err = each(d.patients, func(ctx context.Context, i int) error { return d.treat(ctx, i, patients[i], doctors) })
	}
	return err
}

// create adds a record, and answers its id.
func (d *demo) create(ctx context.Context, path, name string, body any) (int64, error) {
	var created struct{ ID int64 }
	err := d.client.do(ctx, http.MethodPost, path, d.key(name), body, &created)
	return created.ID, err
}

func (d *demo) key(name string) string {
	return fmt.Sprintf("carelog-demo-%d-%s", d.records.seed, name)
}

// addDoctor adds a doctor, or finds the one whom another account has added.
func (d *demo) addDoctor(ctx context.Context, i int) (int64, error) {
	doctor := d.records.doctor(i)
	id, err := d.create(ctx, "/api/doctors/", fmt.Sprintf("doctor-%d", i), doctor)
	answer, refused := errors.AsType[*apiAnswer](err)
	if !refused || answer.status != http.StatusBadRequest {
		return id, err
	}
	there, failed := d.theDoctors(ctx)
	if failed != nil {
		return 0, failed
	}
	if id, found := there[doctor.Email]; found {
		return id, nil
	}
	return 0, err
}

// theDoctors answers the ids of those who are there, by address. They are asked for once.
func (d *demo) theDoctors(ctx context.Context) (map[string]int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.there != nil {
		return d.there, nil
	}
	var all []struct {
		ID    int64
		Email string
	}
	if err := d.client.do(ctx, http.MethodGet, "/api/doctors/", "", nil, &all); err != nil {
		return nil, err
	}
	d.there = map[string]int64{}
	for _, doctor := range all {
		d.there[doctor.Email] = doctor.ID
	}
	return d.there, nil
}

// treat gives a patient doctors, and some of them something that happens later.
func (d *demo) treat(ctx context.Context, i int, patient int64, doctors []int64) error {
	for n, doctor := range d.records.doctorsOf(i, len(doctors)) {
		mapping, err := d.create(ctx, "/api/patients/mappings/", fmt.Sprintf("mapping-%d-%d", i, doctor), map[string]int64{"patient": patient, "doctor": doctors[doctor]})
		if err != nil {
			return err
		}
		if n == 2 && i%5 == 0 { // is done with the third
			path := fmt.Sprintf("/api/patients/mappings/delete/%d/", mapping)
			if err := d.client.do(ctx, http.MethodDelete, path, d.key(fmt.Sprintf("unmap-%d-%d", i, doctor)), nil, nil); err != nil {
				return err
			}
			continue
		}
		d.mapped.Add(1)
	}
	if i%10 != 0 {
		return nil
	}
	path := fmt.Sprintf("/api/patients/%d/", patient) // a birthday
	return d.client.do(ctx, http.MethodPatch, path, d.key(fmt.Sprintf("birthday-%d", i)), map[string]int{"age": d.records.patient(i).Age + 1}, nil)
}
