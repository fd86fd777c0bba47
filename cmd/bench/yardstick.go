package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// yardstickSchema is as plain as it can be: the columns of the API, primary
// keys, and an index for what is looked up otherwise. It has no foreign keys,
// and no e-mail address is checked: less work than an application would do makes
// a longer yardstick.
const yardstickSchema = `
create table if not exists patients (
    id         bigint generated always as identity primary key,
    owner_id   bigint      not null,
    first_name text        not null,
    last_name  text        not null,
    age        integer     not null,
    gender     text        not null,
    created_at timestamptz not null default clock_timestamp()
);
create index if not exists patients_owner on patients (owner_id, id);
create table if not exists doctors (
    id             bigint generated always as identity primary key,
    first_name     text        not null,
    last_name      text        not null,
    specialization text        not null,
    email          text        not null,
    phone          text        not null,
    created_at     timestamptz not null default clock_timestamp()
);
create table if not exists mappings (
    id          bigint generated always as identity primary key,
    patient_id  bigint      not null,
    doctor_id   bigint      not null,
    owner_id    bigint      not null,
    assigned_at timestamptz not null default clock_timestamp(),
    unique (patient_id, doctor_id)
);`

// yardstick is the server that Carelog is compared with: chi, golang-jwt and
// pgx, the same requests and answers, and for each request one INSERT, SELECT or
// UPDATE. It keeps no history, and checks of a request what its statement checks.
type yardstick struct {
	pool   *pgxpool.Pool
	secret []byte
	parser *jwt.Parser
}

// runYardstick serves until the context ends.
func runYardstick(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench yardstick", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8001", "`host:port` to serve on")
	conns := flags.Int("db-max-conns", databaseConns, "`number` of database connections")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns = int32(*conns)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, yardstickSchema); err != nil {
		return err
	}
	y := &yardstick{
		pool:   pool,
		secret: []byte(os.Getenv(secretVariable)),
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()})),
	}
	server := &http.Server{Addr: *addr, Handler: y.routes(), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (y *yardstick) routes() http.Handler {
	mux := chi.NewRouter()
	mux.Get("/readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, struct{}{}) })
	mux.Route("/api", func(r chi.Router) {
		r.Use(y.authenticate)
		r.Post("/doctors/", y.postDoctor)
		r.Post("/patients/", y.postPatient)
		r.Get("/patients/", y.listPatients)
		r.Get("/patients/{id}/", y.getPatient)
		r.Patch("/patients/{id}/", y.patchPatient)
		r.Post("/patients/mappings/", y.postMapping)
	})
	return mux
}

type userKey struct{}

// authenticate verifies the token of every request.
func (y *yardstick) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var claims struct {
			UserID string `json:"user_id"`
			jwt.RegisteredClaims
		}
		_, err := y.parser.ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return y.secret, nil })
		user, notID := strconv.ParseInt(claims.UserID, 10, 64)
		if !ok || err != nil || notID != nil {
			answer(w, http.StatusUnauthorized, detail{"Given token not valid for any token type"})
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

func userOf(r *http.Request) int64 { return r.Context().Value(userKey{}).(int64) }

// one runs a statement that answers one row, and answers record with it.
func (y *yardstick) one(w http.ResponseWriter, r *http.Request, status int, record any, targets []any, sql string, args ...any) {
	if err := y.pool.QueryRow(r.Context(), sql, args...).Scan(targets...); err != nil {
		fail(w, err)
		return
	}
	answer(w, status, record)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		answer(w, http.StatusBadRequest, detail{"JSON parse error"})
		return false
	}
	return true
}

func id(r *http.Request) int64 {
	id, _ := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64) // there is no patient 0
	return id
}

type detail struct {
	Detail string `json:"detail"`
}

func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, pgx.ErrNoRows) {
		answer(w, http.StatusNotFound, detail{"Not found."})
		return
	}
	answer(w, http.StatusInternalServerError, detail{err.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	w.Write(text)
}
