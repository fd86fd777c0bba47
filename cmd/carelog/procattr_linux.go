package main

import "syscall"

// dieWithParent makes the kernel stop PostgreSQL the fast, clean way when
// Carelog dies, kill -9 included. It is sent when the thread that started the
// process ends, so that thread must be locked until then.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGINT
}
