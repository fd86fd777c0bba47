package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBarrier(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(dataDir(t))
	if err != nil {
		t.Fatal(err)
	}
	closed, below := filepath.Join(top, "closed"), filepath.Join(top, "closed", "below")
	if err := os.MkdirAll(below, 0o711); err != nil {
		t.Fatal(err)
	}
	me, others := uint32(os.Geteuid()), uint32(12345)
	for _, test := range []struct {
		mode    os.FileMode
		account *account
		want    string
	}{
		{0o711, &account{uid: others, gid: others}, ""},
		{0o700, &account{uid: others, gid: others}, closed},
		{0o710, &account{uid: others, gid: others}, closed},
		{0o710, &account{uid: others, gid: uint32(os.Getegid())}, ""},
		{0o710, &account{uid: others, gid: others, groups: []uint32{uint32(os.Getegid())}}, ""},
		{0o701, &account{uid: others, gid: uint32(os.Getegid())}, closed},
		{0o700, &account{uid: me, gid: others}, ""},
		{0o700, nil, ""},
	} {
		if err := os.Chmod(closed, test.mode); err != nil {
			t.Fatal(err)
		}
		if got, err := test.account.barrier(below); got != test.want || err != nil {
			t.Errorf("%o, %+v: %q, %v", test.mode, test.account, got, err)
		}
	}
}
