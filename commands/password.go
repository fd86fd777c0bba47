package commands

import (
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// PasswordError refuses a password. Its message is Django's own.
type PasswordError struct{ Message string }

func (e *PasswordError) Error() string { return e.Message }

// minPasswordLength is in characters (code points).
const minPasswordLength = 8

// maxPasswordSimilarity is the share of characters, from 0 to 1, that a password
// must not have in common with what is known of its user.
const maxPasswordSimilarity = 0.7

// CheckPassword returns nil for a password that a user of this name and e-mail
// address may have, else a *PasswordError for the first rule it breaks: 8
// characters or more, not all of them digits, not a common password, and not
// similar to the name or the address. The rules are Django's password validators;
// any other error is the program's own fault.
func CheckPassword(password, name, email string) error {
	if utf8.RuneCountInString(password) < minPasswordLength {
		return &PasswordError{fmt.Sprintf("This password is too short. It must contain at least %d characters.", minPasswordLength)}
	}
	if !strings.ContainsFunc(password, isNoNumber) {
		return &PasswordError{"This password is entirely numeric."}
	}
	common, err := commonPasswords()
	if err != nil {
		return fmt.Errorf("read the list of common passwords: %w", err)
	}
	lower := strings.ToLower(password)
	if _, found := slices.BinarySearch(common, strings.TrimFunc(lower, isSpace)); found {
		return &PasswordError{"This password is too common."}
	}
	if isSimilar(lower, strings.ToLower(name)) {
		return &PasswordError{"The password is too similar to the name."}
	}
	if isSimilar(lower, strings.ToLower(email)) {
		return &PasswordError{"The password is too similar to the email address."}
	}
	return nil
}

func isNoNumber(r rune) bool { return !unicode.IsNumber(r) }

// isSpace is what Python's str.strip removes.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F }

// isSimilar compares a password with the whole of a value and with each word in
// it, as Django's UserAttributeSimilarityValidator does.
func isSimilar(password, value string) bool {
	counts, n := map[rune]int{}, 0 // of the characters of the password
	for _, r := range password {
		counts[r]++
		n++
	}
	parts := strings.FieldsFunc(value, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '_'
	})
	for _, part := range append(parts, value) {
		length := utf8.RuneCountInString(part)
		if n >= 10*length {
			continue // too short to be similar: at most 2/11 is shared
		}
		if quickRatio(counts, n, part, length) >= maxPasswordSimilarity {
			return true
		}
	}
	return false
}

// quickRatio is that of Python's difflib.SequenceMatcher: twice the number of
// characters that two texts have in common, in whatever order, as a share of all
// their characters. The first text is given by its counts.
func quickRatio(counts map[rune]int, n int, text string, length int) float64 {
	common := 0
	seen := map[rune]int{}
	for _, r := range text {
		if seen[r] < counts[r] {
			seen[r]++
			common++
		}
	}
	return 2 * float64(common) / float64(n+length)
}

// commonPasswordsGz is common-passwords.txt.gz of Django 5.2, unchanged: 19,640
// common passwords in lower case, from a list of 20,000 that Royce Williams made,
// https://gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce.
// Copyright (c) Django Software Foundation and individual contributors, under
// the 3-clause BSD licence, https://github.com/django/django/blob/main/LICENSE.
//
//go:embed common-passwords.txt.gz
var commonPasswordsGz string

// commonPasswords unpacks the list once, when it is first needed, and sorts it.
// It takes about half a megabyte: one text, and a slice that points into it.
var commonPasswords = sync.OnceValues(func() ([]string, error) {
	unzipped, err := gzip.NewReader(strings.NewReader(commonPasswordsGz))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		return nil, err
	}
	list := strings.Split(strings.TrimSpace(string(text)), "\n")
	slices.Sort(list)
	return list, nil
})
