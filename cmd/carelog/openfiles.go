package main

import "syscall"

// otherFiles is how many files the program may have open beside the connections
// of clients and those to the database.
const otherFiles = 128

// maxConnections is how many clients may be connected: what is set, or what the
// limit of open files leaves. Go raises the soft limit to the hard one.
func (p *program) maxConnections() int {
	most := p.config.MaxConnections
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	others := uint64(p.config.DatabaseConns + otherFiles)
	if uint64(most)+others <= uint64(limit.Cur) {
		return most
	}
	left := int(max(uint64(limit.Cur), others+1) - others)
	p.logger.Warn("fewer clients can be connected than set, because of the limit of open files", "connections", left, "set", most, "open files", limit.Cur)
	return left
}
