package bench

import (
	"os"
	"testing"
)

const cgroups = "/sys/fs/cgroup/unified"

func needsRoot(b testing.TB) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		b.Fatal("must run as root in CI")
	}
	b.Skip("needs root, to load programs and to make a network namespace")
}
