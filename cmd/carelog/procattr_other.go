//go:build !linux

package main

import "syscall"

// dieWithParent does nothing where the kernel cannot do it. A PostgreSQL that
// outlives Carelog there is stopped by the next start.
func dieWithParent(*syscall.SysProcAttr) {}
