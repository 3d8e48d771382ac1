"""The instructions of a kernel as nvdisasm -c prints them, and which of them are loops."""
import re

GENERIC, SHARED, GLOBAL = "LD", "LDS", "LDG"


class Kernel:
    """Its instructions, and which of them are loops.

    A loop is a set of instructions from each of which every other can be reached; without its first one, what is left of
    it may have loops again. Ways that a warp takes only where its lanes have gone apart (BRA.DIV, BRA.CONV) are none."""

    INSTRUCTION = re.compile(r"/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);")
    TARGET = re.compile(r"`\((\.L_x_\d+)\)")

    def __init__(self, lines):
        self.names, self.labels, jumps = [], {}, []
        for line in lines:
            if line.startswith(".L_x_"):
                self.labels[line.split(":")[0]] = len(self.names)
            elif found := self.INSTRUCTION.search(line):
                predicate, name, operands = found.groups()
                jumps.append((predicate or "", operands))
                self.names.append(name if "@!PT" not in line else "")  # never executed
        self.inside, after = self.blocks(jumps)
        self.loops = self.loops_of(self.inside, after)

    def blocks(self, jumps):
        """(instructions of each basic block, the blocks that may follow it)."""
        starts, ends, meets, syncs = {0, *self.labels.values()}, {}, {}, []
        for i, (name, (predicate, operands)) in enumerate(zip(self.names, jumps)):
            target = self.TARGET.search(operands)
            target = self.labels.get(target.group(1)) if target else None
            if name.startswith("BSSY"):
                meets.setdefault(operands.split(",")[0].strip(), set()).add(target)
            elif name.startswith("BSYNC"):
                syncs.append((i, operands.split(",")[-1].strip()))
            elif name.startswith(("BRA", "CALL")) and target is not None and "DIV" not in name:  # calls to labels jump
                always = "CONV" in name or not (predicate or re.search(r"\bU?P\d", operands.split("`")[0]))
                ends[i] = [target] if always else [target, i + 1]
            elif name.split(".")[0] in ("EXIT", "RET", "BRX", "JMX"):
                ends[i] = [i + 1] if predicate else []
        for i, barrier in syncs:  # where lanes meet: mostly right behind
            places = meets.get(barrier, {i + 1})
            ends[i] = [i + 1] if i + 1 in places else sorted(places)
        starts |= {i + 1 for i in ends} | {to for then in ends.values() for to in then if to is not None}
        order = sorted(start for start in starts if start < len(self.names))
        number = {start: n for n, start in enumerate(order)}
        inside = [range(start, end) for start, end in zip(order, [*order[1:], len(self.names)])]
        after = [ends.get(block[-1], [block[-1] + 1]) for block in inside]
        return inside, [[number[to] for to in then if to in number] for then in after]

    @staticmethod
    def components(nodes, after):
        """Strongly connected components with a way back, by Tarjan's algorithm without recursion."""
        index, low, stack, on_stack, found = {}, {}, [], set(), []
        for root in sorted(nodes):
            work = [(root, iter(after[root]))] if root not in index else []
            while work:
                node, rest = work[-1]
                if node not in index:
                    index[node] = low[node] = len(index)
                    stack.append(node)
                    on_stack.add(node)
                deeper = False
                for to in rest:
                    if to not in nodes:
                        continue
                    if to not in index:
                        work.append((to, iter(after[to])))
                        deeper = True
                        break
                    if to in on_stack:
                        low[node] = min(low[node], index[to])
                if deeper:
                    continue
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = set()
                    while node not in component:
                        component.add(stack.pop())
                    on_stack -= component
                    if len(component) > 1 or node in after[node]:
                        found.append(component)
        return found

    def loops_of(self, inside, after):
        """Of all loops, inner ones too, the instructions."""
        loops, open_ = [], [set(range(len(inside)))]
        while open_:
            for component in self.components(open_.pop(), after):
                loops.append(frozenset(i for block in component for i in inside[block]))
                entered = {to for block, then in enumerate(after) for to in then if block not in component}
                open_.append(component - {min(component & entered or component)})
        return loops

    def count(self, instructions, pattern=""):
        """Those whose names match."""
        there = re.compile(pattern)
        return sum(1 for i in instructions if self.names[i] and there.match(self.names[i]))

    def blocks_with(self, pattern):
        """The instructions of the basic blocks that have one whose name matches."""
        return frozenset(i for block in self.inside if self.count(block, pattern) for i in block)

    def loop_that_matters(self, around=""):
        """(its instructions, what it multiplies with); (None, "") where nothing multiplies in a loop. With `around`: of those
        that have such instructions, or lie in a loop that has them and in which the block's threads do not meet."""
        fits = lambda loop: not around or self.count(loop, around) and not self.count(loop, "BAR")
        for product in ["HMMA", "IMMA", "IDP", "FFMA"]:
            multiply = [loop for loop in self.loops if self.count(loop, product)]
            multiply = [loop for loop in multiply if any(loop <= other and fits(other) for other in self.loops)]
            innermost = [loop for loop in multiply if not any(other < loop for other in multiply)]
            if innermost:
                return max(innermost, key=lambda loop: self.count(loop, product)), product
        return None, ""

    def phases(self, loop, kinds=(GENERIC, SHARED)):
        """Wavefronts of the loop's loads (those that may be from shared memory), if no banks conflict: of 8 bytes a half warp
        is served at once, of 16 bytes a quarter."""
        wide = {"64": 2, "128": 4}
        names = [self.names[i] for i in loop if self.names[i].split(".")[0] in kinds]
        return sum(next((wide[part] for part in name.split(".") if part in wide), 1) for name in names)


def kernels_of(text):
    """{mangled name: Kernel} of what nvdisasm printed."""
    functions, lines, name = {}, [], None
    for line in text.splitlines():
        if line.startswith(".text."):
            name, lines = line[len(".text.") : line.index(":")], []
            functions[name] = lines
        elif line.startswith("//-----"):
            name = None
        elif name:
            lines.append(line)
    return {name: Kernel(lines) for name, lines in functions.items()}
