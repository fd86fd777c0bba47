package main

import (
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// comments are those of the structs of a package, as plain text: of "PatientAmended",
// and of the field "PatientAmended.Age".
type comments map[string]string

func readComments(dir string) (comments, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	found := comments{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the comments: %w", err)
		}
		for _, declaration := range source.Decls {
			if types, ok := declaration.(*ast.GenDecl); ok {
				found.take(types)
			}
		}
	}
	return found, nil
}

func (c comments) take(types *ast.GenDecl) {
	for _, spec := range types.Specs {
		declared, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		structure, ok := declared.Type.(*ast.StructType)
		if !ok {
			continue
		}
		c[declared.Name.Name] = plain(types.Doc, declared.Doc)
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				c[declared.Name.Name+"."+name.Name] = plain(field.Doc, field.Comment)
			}
		}
	}
}

// plain is the text of comments in one paragraph, links without their brackets.
func plain(groups ...*ast.CommentGroup) string {
	parser := comment.Parser{LookupSym: func(string, string) bool { return true }}
	printer := comment.Printer{TextWidth: -1}
	var text []string
	for _, group := range groups {
		text = append(text, strings.Fields(string(printer.Text(parser.Parse(group.Text()))))...)
	}
	return strings.Join(text, " ")
}

// packageDoc is the doc.go of a package as Markdown, without its first paragraph.
func packageDoc(dir string) (string, error) {
	path := filepath.Join(dir, "doc.go")
	source, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		return "", fmt.Errorf("read the contract: %w", err)
	}
	parsed := (&comment.Parser{}).Parse(source.Doc.Text())
	if len(parsed.Content) < 2 {
		return "", fmt.Errorf("%s holds no contract", path)
	}
	parsed.Content = parsed.Content[1:]
	printer := comment.Printer{HeadingLevel: 2, HeadingID: func(*comment.Heading) string { return "" }}
	return string(printer.Markdown(parsed)), nil
}
