package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
)

// The README's claims are its commands, each followed by what it prints. Every line
// that starts with `    $ hopgate` is run; -update writes what it printed.
func TestReadme(t *testing.T) {
	path, err := filepath.Abs("../README.md")
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder+"/examples", os.DirFS("../examples")))
	t.Chdir(folder)

	const indent, prompt = "    ", "    $ hopgate "
	var got strings.Builder
	commands := 0
	lines := strings.SplitAfter(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		got.WriteString(lines[i])
		command, ok := strings.CutPrefix(lines[i], prompt)
		if !ok {
			continue
		}
		commands++
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], indent) && !strings.HasPrefix(lines[i+1], prompt) {
			i++ // the output there is
		}
		for line := range strings.Lines(output(command)) {
			got.WriteString(strings.TrimRight(indent+line, " \n") + "\n")
		}
	}
	require.NotZero(t, commands)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got.String()), 0o666))
		return
	}
	require.Equal(t, string(text), got.String(), "-update rewrites it")
}

// output is what a command line without the program's name prints.
func output(command string) string {
	var args []string
	for _, word := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command, -1) {
		args = append(args, strings.Trim(word, "'"))
	}
	var out bytes.Buffer
	cli.Run(args, strings.NewReader(""), &out, &out)
	return out.String()
}
