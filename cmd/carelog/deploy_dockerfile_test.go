package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile.
type instruction struct{ name, args string }

// readDockerfile reads the instructions of deploy/Dockerfile by stage.
func readDockerfile(t *testing.T) (stages [][]instruction) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(readDeploy(t, "Dockerfile"), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if name != "" {
			last := len(stages) - 1
			stages[last] = append(stages[last], instruction{name, strings.Join(strings.Fields(args), " ")})
		}
	}
	return stages
}

// copyContext copies the repository without what .dockerignore names. Its .git is lent.
func copyContext(t *testing.T, target string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var ignored []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			ignored = append(ignored, line)
		}
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, pattern := range ignored {
			anywhere, ok := strings.CutPrefix(pattern, "**/")
			if ok && entry.Name() == anywhere || name == pattern {
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		switch to := filepath.Join(target, name); {
		case name == ".git" && entry.IsDir():
			if err := os.Symlink(path, to); err != nil {
				return err
			}
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		default:
			return copyFile(path, to)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm())
}

// TestDockerfileNamesGo in a version that go.mod allows.
func TestDockerfileNamesGo(t *testing.T) {
	var image, module [3]int
	if _, err := fmt.Sscanf(regexp.MustCompile(`golang:\S+`).FindString(readDockerfile(t)[0][0].args), "golang:%d.%d.%d-", &image[0], &image[1], &image[2]); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(regexp.MustCompile(`(?m)^go .*`).FindString(string(text)), "go %d.%d.%d", &module[0], &module[1], &module[2]); err != nil {
		t.Fatal(err)
	}
	if slices.Compare(image[:], module[:]) < 0 {
		t.Errorf("the Dockerfile builds with Go %v, and go.mod wants %v", image, module)
	}
}
