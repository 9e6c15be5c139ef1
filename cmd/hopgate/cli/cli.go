// Package cli is the hopgate command.
package cli

import "io"

// Run runs one command line and returns the exit code: 0 fine, 1 the policy or
// the host says no, 2 wrong command line.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int { return 2 }
