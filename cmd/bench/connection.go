package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// connection is one keep-alive connection of HTTP/1.1 that sends a request and
// reads its answer, in turns. It understands what it needs of answers, and
// fails on all else: net/http's client needs three times the CPU, which on a
// machine of a few cores is taken from the servers that are measured.
type connection struct {
	socket net.Conn
	reader *bufio.Reader
	body   []byte
}

func dial(addr string, deadline time.Time) (*connection, error) {
	socket, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	socket.SetDeadline(deadline)
	return newConnection(socket), nil
}

func newConnection(socket net.Conn) *connection {
	return &connection{socket: socket, reader: bufio.NewReaderSize(socket, 32<<10)}
}

// response is an answer as far as it is looked at.
type response struct {
	status     int
	pending    bool   // the read tables do not contain the write yet
	retryAfter bool   // it may be asked again
	body       []byte // until the next request
}

// check tells what is wrong with an answer.
func (r response) check() error {
	switch {
	case r.status < 200 || r.status > 299:
		return fmt.Errorf("answered with status %d: %.200s", r.status, r.body)
	case r.pending:
		return fmt.Errorf("answered with status %d, and %s: pending", r.status, projectedHeader)
	}
	return nil
}

const projectedHeader = "Carelog-Projected" // on an answer before the write can be read

func (c *connection) do(request []byte) (response, error) {
	if _, err := c.socket.Write(request); err != nil {
		return response{}, err
	}
	var r response
	line, err := c.line()
	if err != nil {
		return r, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return r, fmt.Errorf("not an answer of HTTP/1.1: %q", line)
	}
	if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return r, fmt.Errorf("not a status: %q", line)
	}
	length := -1
	for {
		if line, err = c.line(); err != nil {
			return r, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return r, fmt.Errorf("not a length: %q", line)
			}
		case bytes.EqualFold(name, []byte(projectedHeader)):
			r.pending = true
		case bytes.EqualFold(name, []byte("Retry-After")):
			r.retryAfter = true
		}
	}
	if r.status == 204 || r.status == 304 {
		length = 0
	}
	if length < 0 {
		return r, errors.New("an answer without Content-Length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	r.body = c.body[:length]
	_, err = io.ReadFull(c.reader, r.body)
	return r, err
}

// line is the next one, without its end, until the next read.
func (c *connection) line() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}
