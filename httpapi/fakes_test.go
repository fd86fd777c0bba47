package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"sync"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

type fakeCommands struct {
	got    any // the last command
	caller commands.Caller
	seen   events.Position // up to which the caller's standing was known
	pos    events.Position
	err    error
	emails map[string]int64
	ids    map[int64]events.Position // users in the log
}

func (f *fakeCommands) take(caller commands.Caller, command any) {
	f.seen = 0
	if caller.Standing != nil {
		f.seen = caller.Standing.Seen()
	}
	caller.Standing = nil // what is left can be compared
	f.caller, f.got = caller, command
}

func (f *fakeCommands) RegisterUser(_ context.Context, c commands.Caller, command commands.RegisterUser) (int64, events.Position, error) {
	f.take(c, command)
	return 3, f.pos, f.err
}

func (f *fakeCommands) UserByEmail(_ context.Context, email string) (int64, events.Position, error) {
	if f.err != nil {
		return 0, 0, f.err
	}
	if id, ok := f.emails[email]; ok {
		return id, f.pos, nil
	}
	return 0, f.pos, commands.ErrNotFound
}

func (f *fakeCommands) UserByID(_ context.Context, id int64) (events.Position, error) {
	if pos, ok := f.ids[id]; ok {
		return pos, nil
	}
	return f.pos, commands.ErrNotFound
}

func (f *fakeCommands) RegisterPatient(_ context.Context, c commands.Caller, command commands.RegisterPatient) (commands.Patient, events.Position, error) {
	f.take(c, command)
	return testPatient, f.pos, f.err
}

func (f *fakeCommands) AmendPatient(_ context.Context, c commands.Caller, command commands.AmendPatient) (commands.Patient, events.Position, error) {
	f.take(c, command)
	return testPatient, f.pos, f.err
}

func (f *fakeCommands) RemovePatient(_ context.Context, c commands.Caller, command commands.RemovePatient) (events.Position, error) {
	f.take(c, command)
	return f.pos, f.err
}

func (f *fakeCommands) RegisterDoctor(_ context.Context, c commands.Caller, command commands.RegisterDoctor) (commands.Doctor, events.Position, error) {
	f.take(c, command)
	return testDoctor, f.pos, f.err
}

func (f *fakeCommands) AmendDoctor(_ context.Context, c commands.Caller, command commands.AmendDoctor) (commands.Doctor, events.Position, error) {
	f.take(c, command)
	return testDoctor, f.pos, f.err
}

func (f *fakeCommands) RemoveDoctor(_ context.Context, c commands.Caller, command commands.RemoveDoctor) (events.Position, error) {
	f.take(c, command)
	return f.pos, f.err
}

func (f *fakeCommands) MapDoctor(_ context.Context, c commands.Caller, command commands.MapDoctor) (commands.Mapping, events.Position, error) {
	f.take(c, command)
	return testMapping, f.pos, f.err
}

func (f *fakeCommands) UnmapDoctor(_ context.Context, c commands.Caller, id int64) (events.Position, error) {
	f.take(c, id)
	return f.pos, f.err
}

func (f *fakeCommands) AmendUser(_ context.Context, c commands.Caller, command commands.AmendUser) (commands.User, events.Position, error) {
	f.take(c, command)
	return commands.User{
		ID: command.ID, Name: "John Doe", Email: "john@example.com", RegisteredAt: testTime,
		Disabled: true, Roles: []events.Role{events.Auditor},
	}, f.pos, f.err
}

// fakeQueries knows patient 42 of user 1, doctor 5 and mapping 9 of the two.
type fakeQueries struct {
	users  map[int64]error // what asking as this user answers; absent: unknown
	epochs map[int64]events.Position
	roles  map[int64][]events.Role
	taken  string // an e-mail address
	err    error  // answered by everything
	panic  any    // what everything panics with
	calls  int

	position events.Position // up to which sessions are good
}

func (f *fakeQueries) as(user projections.Session) error {
	f.calls++
	if f.panic != nil {
		panic(f.panic)
	}
	if f.err != nil {
		return f.err
	}
	state, known := f.users[user.User]
	if !known {
		return projections.ErrUnknownUser
	}
	if state == nil && user.Epoch != f.epochs[user.User] {
		return projections.ErrSessionEnded
	}
	return state
}

func (f *fakeQueries) NewSession(_ context.Context, user int64) (projections.Session, error) {
	session := projections.Session{User: user, Epoch: f.epochs[user]}
	return session, f.as(session)
}

func (f *fakeQueries) account(id int64) projections.User {
	return projections.User{ID: id, Name: "John Doe", Email: "john@example.com", Active: f.users[id] == nil, Roles: f.roles[id], RegisteredAt: testTime}
}

func (f *fakeQueries) Account(_ context.Context, user projections.Session) (projections.User, error) {
	return f.account(user.User), f.as(user)
}

func (f *fakeQueries) User(_ context.Context, user projections.Session, id int64) (projections.User, error) {
	if err := f.as(user); err != nil {
		return projections.User{}, err
	}
	if _, known := f.users[id]; !known {
		return projections.User{}, projections.ErrNotFound
	}
	return f.account(id), nil
}

func (f *fakeQueries) AllUsers(_ context.Context, user projections.Session) ([]projections.User, error) {
	return []projections.User{f.account(1), f.account(2)}, f.as(user)
}

func (f *fakeQueries) UsersPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.User], error) {
	all, err := f.AllUsers(ctx, user)
	return pageOf(all, limit, offset), err
}

func (f *fakeQueries) CheckSession(_ context.Context, user projections.Session) (events.Position, error) {
	return cmp.Or(f.position, 1), f.as(user)
}

func (f *fakeQueries) Patient(_ context.Context, user projections.Session, id int64) (projections.Patient, error) {
	if err := f.as(user); err != nil {
		return projections.Patient{}, err
	}
	if user.User != 1 || id != testPatient.ID {
		return projections.Patient{}, projections.ErrNotFound
	}
	return projections.Patient(testPatient), nil
}

func (f *fakeQueries) Patients(_ context.Context, user projections.Session) ([]projections.Patient, error) {
	if err := f.as(user); err != nil || user.User != 1 {
		return nil, err
	}
	return []projections.Patient{projections.Patient(testPatient), projections.Patient(testPatient)}, nil
}

func (f *fakeQueries) Doctor(_ context.Context, user projections.Session, id int64) (projections.Doctor, error) {
	if err := f.as(user); err != nil {
		return projections.Doctor{}, err
	}
	if id != testDoctor.ID {
		return projections.Doctor{}, projections.ErrNotFound
	}
	return projections.Doctor(testDoctor), nil
}

func (f *fakeQueries) Doctors(_ context.Context, user projections.Session) ([]projections.Doctor, error) {
	return []projections.Doctor{projections.Doctor(testDoctor)}, f.as(user)
}

func (f *fakeQueries) Mappings(_ context.Context, user projections.Session) ([]projections.Mapping, error) {
	if err := f.as(user); err != nil || user.User != 1 {
		return nil, err
	}
	return []projections.Mapping{projections.Mapping(testMapping)}, nil
}

func (f *fakeQueries) PatientMappings(ctx context.Context, user projections.Session, patient int64) ([]projections.Mapping, error) {
	if patient != testPatient.ID {
		return nil, f.as(user)
	}
	return f.Mappings(ctx, user)
}

func (f *fakeQueries) PatientsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Patient], error) {
	all, err := f.Patients(ctx, user)
	return pageOf(all, limit, offset), err
}

func (f *fakeQueries) DoctorsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Doctor], error) {
	all, err := f.Doctors(ctx, user)
	return pageOf(all, limit, offset), err
}

func (f *fakeQueries) MappingsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Mapping], error) {
	all, err := f.Mappings(ctx, user)
	return pageOf(all, limit, offset), err
}

func (f *fakeQueries) PatientMappingsPage(ctx context.Context, user projections.Session, patient, limit, offset int64) (projections.Page[projections.Mapping], error) {
	all, err := f.PatientMappings(ctx, user, patient)
	return pageOf(all, limit, offset), err
}

func pageOf[R any](all []R, limit, offset int64) projections.Page[R] {
	count := int64(len(all))
	begin := min(offset, count)
	return projections.Page[R]{Count: count, Rows: all[begin:min(begin+limit, count)]}
}

func (f *fakeQueries) DoctorEmailTaken(_ context.Context, email string, except int64) (bool, error) {
	return email == f.taken && except != testDoctor.ID, f.err
}

func (f *fakeQueries) UserEmailTaken(_ context.Context, email string) (bool, error) {
	return email == f.taken, f.err
}

type fakeProgress struct {
	waited  []events.Position
	err     error  // of Wait
	live    error  // of Live
	arrives func() // what a wait sees happen

	restarts int64
}

func (f *fakeProgress) Wait(_ context.Context, pos events.Position) error {
	f.waited = append(f.waited, pos)
	if f.arrives != nil {
		f.arrives()
	}
	return f.err
}

func (f *fakeProgress) Live() error { return f.live }

func (f *fakeProgress) Restarts() int64 { return f.restarts }

type fakeAccounts struct {
	passwords map[int64]string
	verified  []int64
	verifying func() // what happens while a password is verified
	rotated   []RotateToken
	err       error // answered by everything
}

func (f *fakeAccounts) HashPassword(_ context.Context, password string) (string, error) {
	return "hash of " + password, f.err
}

func (f *fakeAccounts) VerifyPassword(_ context.Context, user int64, password string) (bool, error) {
	f.verified = append(f.verified, user)
	if f.verifying != nil {
		f.verifying()
	}
	known, ok := f.passwords[user]
	return ok && known == password, f.err
}

func (f *fakeAccounts) Rotate(_ context.Context, token RotateToken) error {
	f.rotated = append(f.rotated, token)
	return f.err
}

// syncBuffer is a log that a server may write to from its goroutines.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// lines are the log's lines that contain the text.
func (b *syncBuffer) lines(containing string) []string {
	var found []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, containing) {
			found = append(found, line)
		}
	}
	return found
}
