// Command hopgate compiles connection-authorization policies to eBPF and runs
// them.
package main

import (
	"os"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
)

func main() {
	os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
