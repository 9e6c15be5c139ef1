package proof

import (
	"fmt"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// stageMaps are the maps that the stages of a program for Linux have for themselves.
var stageMaps = []string{
	codegen.StateMap, codegen.SocketsMap, codegen.CacheMap, codegen.FlowsMap, codegen.DevicesMap, codegen.PeersMap,
}

// earlyFields are the fields that stages before route selection know.
var earlyFields = []compiler.Field{compiler.RemoteAddress, compiler.RemotePort, compiler.Protocol, compiler.Family, compiler.Compartment}

// wholeLinux proves the decisions of a program for Linux.
func (c *checker) wholeLinux(decisions []*function) error {
	if c.policy.Hook != compiler.Connect {
		return &errWrong{reason: fmt.Sprintf("target linux has no hook %s", c.policy.Hook)}
	}
	if len(named(c.policy)) > maxNamed {
		return fmt.Errorf("more than %d named interfaces", maxNamed)
	}
	if err := c.compareStages(c.linux); err != nil {
		return err
	}
	c.result.Stages = len(c.linux.stages)
	return c.each(decisions, (*checker).function)
}
