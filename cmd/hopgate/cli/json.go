package cli

import (
	"encoding/json"
	"io"
)

// printJSON prints a value on standard output, indented, for --json.
func (c *console) printJSON(v any) error { return writeJSON(c.out, v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printJSONLine prints a value on a line of standard output.
func (c *console) printJSONLine(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
