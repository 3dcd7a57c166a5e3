"""First pass: from the layers of a model to the float graph of one step of training with LoRA.

The text is multiplied by all its sites at once, so their products come first, and their gradients
last. A cross-attention module is computed channel-major: a latent matrix has a column for each
token, sample by sample. Matrices of heads, such as K and the scores, stack windows of rows, sample
by sample and head by head. Products of other layers stand alone: the host gives their operands.

Operations of the host, by kind, with their name, as they are after `fuse`: they write INT8 copies
in place of the float values of this pass, and the entries of scales that belong to them. What each
copy is, `Quantise` operations of the quantised graph say; sizes and places of sites are in `meta`,
see `sw.graph.shape.Shape`. Below, m is the path of a module and k a number.

weights : ``weights``
    Makes all constants: text.W, and m.Wq, m.Wo of every module.
text_inputs : ``text.inputs``
    Makes text.X.row, text.A, text.Bt, text.Y.factor. Without `low_rank`, text.A.alone in place of
    text.A: site after site, A of each in zeros as wide as the site's group.
latent : ``m.latent``
    Makes m.X.token.
heads : ``m.heads``
    Of text.Y: m.K.row, m.K.column, m.K.unit, m.V.row, m.V.column, m.V.unit, m.S.entry.
softmax : ``m.softmax``
    Of m.S and m.Q.maxima: m.P.token, m.O.entries.
loss : ``m.loss``
    Of m.out: m.dY.token, m.dP.entry.
softmax_backward : ``m.softmax_backward``
    Of m.dP and m.dO.maxima: m.dS.token, m.dS.text, m.P.text, m.dQ.entries.
collect : ``m.collect``, ``text.collect``, ``plain.k.collect``
    Reads what is there at last: m.dX, m.dK, m.dV; text.dX, text.dA, text.dBt, text.H.column_maxima,
    text.dH.column_maxima; plain.k.out.
text_loss : ``text.loss``
    Of text.Y, for reading kv: as `text_gradients`.
text_gradients : ``text.gradients``
    Of m.dK and m.dV of every module: text.dY.row, text.dY.column, text.X.column, text.Au,
    text.dX.factor.
plain : ``plain.k``
    Makes plain.k.left and plain.k.right.

With fusions off, these come in between. They compute with integers, as the array does:

drain : ``V.drain``
    Of V.sums, what `Host.outputs` say, rows and columns being those of V.sums; with the entries,
    units and factors that these name. A table of `Updates` is uint32, (1, rows). Without
    `low_rank`, also text.dA of windows of text.dA.sites.
sum : ``text.dX.sum``
    Of text.dX.sites, int32, rows of each site below one another: text.dX.plain, their sum.
add_update : ``text.Y.add_update``, ``text.dX.add_update``
    Of V.plain, V.update, row_maxima of the update's left operand, and V.factor: V, which is V.plain
    plus V.update requantised by the update entries of maxima and factor, saturated. Of several
    factors, the i-th is for the columns of site i; that of a site without LoRA is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models.layers import Model, Reading
from ..models.product import Product, Role
from ..models.training import training_step
from ..tile import Span
from .ir import Gemm, Graph, Host, Op, Value, View
from .shape import Module, Shape, Site, shape_of

__all__ = ["TEXT", "build"]

TEXT = "text"
"""Prefix of the values of all text sites."""


def build(
    model: Model, reading: str = Reading.XATTN, batch: int = 1, rank: int | None = None
) -> Graph:
    """Return the float graph of one step.

    Parameters
    ----------
    model : Model
    reading : str
        One of `Reading`.
    batch : int
        Samples.
    rank : int or None
        As of `training_step`.

    Raises
    ------
    GraphError
        Sites or modules of the model do not fit together.
    ModelError
        As `training_step`.
    """
    step = training_step(model, reading, batch, rank)
    shape = shape_of(model, step)
    return _Builder(shape).graph(f"{model.name} {reading} batch {batch}", step.products)


@dataclass
class _Builder:
    """Collects values and operations in the order they run."""

    shape: Shape
    values: dict[str, Value] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    plain: int = 0

    def graph(self, name: str, products: tuple[Product, ...]) -> Graph:
        modules = {module.path: module for module in self.shape.modules}
        layers = {path: module for module in modules.values()
                  for path in (module.path, module.query, module.out)}  # fmt: skip
        sites = {site.path for site in self.shape.sites}
        rest = [product for product in products if product.site not in sites]
        self._text_forward()
        forward = [product for product in rest if product.role.forward]
        self._walk(forward, layers, self._module_forward)
        self._walk(rest[len(forward) :], layers, self._module_backward)
        self._text_backward()
        first = Host("weights", "weights", (), tuple(self.constants))
        return Graph(name, self.values, (first, *self.ops), self.shape.meta)

    def _walk(self, products, layers, whole) -> None:
        """Emit products in order, those of a module together where its first one stands."""
        seen = set()
        for product in products:
            module = layers.get(product.site)
            if module is None:
                self._plain(product)
            elif module.path not in seen:
                seen.add(module.path)
                whole(module)

    def value(self, name: str, rows: int, columns: int, constant: bool = False) -> View:
        """Declare a float value."""
        self.values[name] = Value(name, "float", rows, columns, constant)
        if constant:
            self.constants.append(name)
        return View.of(self.values[name])

    def whole(self, name: str) -> View:
        return View.of(self.values[name])

    def gemm(self, role: str, site: str, out: View, left: View, right: View, updates="") -> None:
        self.ops.append(Gemm(str(role), site, out, left, right, updates))

    def host(self, kind: str, name: str, reads: list[str], writes: list[str]) -> None:
        self.ops.append(Host(kind, name, tuple(reads), tuple(writes)))

    # The text

    def _text_forward(self) -> None:
        shape, rows, width = self.shape, self.shape.rows, self.shape.text_width
        x = self.value(f"{TEXT}.X", rows, width)
        lora = [site for site in shape.sites if site.rank]
        for site in shape.sites:
            self.value(f"{site.path}.W", width, site.outputs, constant=True)
            self.value(f"{site.path}.Y", rows, site.outputs)
        for site in lora:
            self.value(f"{site.path}.A", width, site.rank)
            self.value(f"{site.path}.Bt", site.rank, site.outputs)
            self.value(f"{site.path}.H", rows, site.rank)
        inputs = [f"{TEXT}.X", *(f"{s.path}.{each}" for each in ("A", "Bt") for s in lora)]
        self.host("text_inputs", f"{TEXT}.inputs", [], inputs)
        for site in lora:
            self._site(Role.LORA_H, site, "H", x, self.whole(f"{site.path}.A"))
        for site in shape.sites:
            self._site(Role.FORWARD, site, "Y", x, self.whole(f"{site.path}.W"))
        for index, site in enumerate(shape.sites):
            if site.rank:
                h, b = (self.whole(f"{site.path}.{each}") for each in ("H", "Bt"))
                self._site(Role.LORA_UP, site, "Y", h, b, f"{TEXT}.Y.updates.{index}")

    def _site(self, role: Role, site: Site, out: str, left: View, right: View, updates="") -> None:
        self.gemm(role, site.path, self.whole(f"{site.path}.{out}"), left, right, updates)

    def _text_gradients(self) -> None:
        """Let the host make dY of the sites: of Y, or of the gradients of K and V."""
        gradients = [f"{site.path}.dY" for site in self.shape.sites]
        for site, name in zip(self.shape.sites, gradients, strict=True):
            self.value(name, self.shape.rows, site.outputs)
        if self.shape.modules:
            reads = [f"{m.path}.{each}" for m in self.shape.modules for each in ("dK", "dV")]
            self.host("text_gradients", f"{TEXT}.gradients", reads, gradients)
        else:
            reads = [f"{site.path}.Y" for site in self.shape.sites]
            self.host("text_loss", f"{TEXT}.loss", reads, gradients)

    def _text_backward(self) -> None:
        shape, rows, width = self.shape, self.shape.rows, self.shape.text_width
        self._text_gradients()
        x, lora = self.whole(f"{TEXT}.X"), [site for site in shape.sites if site.rank]

        def of(site: Site, name: str) -> View:
            return self.whole(f"{site.path}.{name}")

        for site in shape.sites:
            self.value(f"{site.path}.dX", rows, width)
        total = self.value(f"{TEXT}.dX", rows, width)
        for site in lora:
            self.value(f"{site.path}.dH", rows, site.rank)
            self.value(f"{site.path}.dA", width, site.rank)
            self.value(f"{site.path}.dBt", site.rank, site.outputs)
        for site in lora:
            self._site(Role.DH, site, "dH", of(site, "dY"), of(site, "Bt").T)
        for site in shape.sites:
            self._site(Role.DX, site, "dX", of(site, "dY"), of(site, "W").T)
        parts = [f"{site.path}.dX" for site in shape.sites]
        self.host("sum", f"{TEXT}.dX.sum", parts, [f"{TEXT}.dX"])
        for site in lora:
            h, a = of(site, "dH"), of(site, "A").T
            self.gemm(Role.LORA_DX, site.path, total, h, a, f"{TEXT}.dX.updates")
        for site in lora:
            self._site(Role.DB, site, "dBt", of(site, "H").T, of(site, "dY"))
        for site in lora:
            self._site(Role.DA, site, "dA", x.T, of(site, "dH"))
        found = [f"{site.path}.{each}" for site in lora for each in ("dA", "dBt")]
        self.host("collect", f"{TEXT}.collect", [f"{TEXT}.dX", *found], [])

    # A cross-attention module

    def _windows(self, module: Module):
        """Yield, for each sample and head, a suffix, rows of its window of the text, rows and
        columns of its window of a latent matrix."""
        text, tokens = self.shape.text_tokens, module.tokens
        size = module.channels // module.heads
        for sample in range(self.shape.batch):
            for head in range(module.heads):
                rows = Span((sample * module.heads + head) * text, text)
                columns = Span(sample * tokens, tokens)
                yield f"{sample}.{head}", rows, Span(head * size, size), columns

    def _attend(self, role: Role, module: Module, out: str, left: str, right: str) -> None:
        """Emit a product of every sample and head.

        Operands are names of values, with ``.T`` behind for the transpose of the window. Windows of
        K, V and what has their shape are as wide as a head; those of the scores have a column for
        each token; those of a latent matrix are of one head and one sample.
        """
        size = module.channels // module.heads
        for suffix, text, rows, columns in self._windows(module):
            views = []
            for name in (out, left, right):
                tail = name.removesuffix(".T")
                if tail in ("K", "V", "dK", "dV"):
                    spans = text, Span(0, size)
                elif tail in ("S", "P", "dS", "dP"):
                    spans = text, Span(0, module.tokens)
                else:
                    spans = rows, columns
                views.append(View(f"{module.path}.{tail}", *spans, name.endswith(".T")))
            self.gemm(f"{role}.{suffix}", module.path, *views)

    def _declare(self, module: Module, *names: str) -> None:
        """Declare values of a module: of the text, of the scores, or latent ones."""
        heads, latents = module.heads, self.shape.batch * module.tokens
        stacked = self.shape.rows * heads
        widths = {"X": module.inputs, "dX": module.inputs, "out": module.outputs,
                  "dY": module.outputs}  # fmt: skip
        for name in names:
            if name in ("K", "V", "dK", "dV"):
                sizes = stacked, module.channels // heads
            elif name in ("S", "P", "dS", "dP"):
                sizes = stacked, module.tokens
            else:
                sizes = widths.get(name, module.channels), latents
            self.value(f"{module.path}.{name}", *sizes)

    def _module_forward(self, module: Module) -> None:
        path, shape = module.path, self.shape
        self.value(f"{path}.Wq", module.channels, module.inputs, constant=True)
        self.value(f"{path}.Wo", module.outputs, module.channels, constant=True)
        self._declare(module, "K", "V", "X", "Q", "S", "P", "O", "out")
        reads = [f"{shape.sites[site].path}.Y" for site in (module.key, module.value)]
        self.host("latent", f"{path}.latent", [], [f"{path}.X"])
        self.host("heads", f"{path}.heads", reads, [f"{path}.K", f"{path}.V"])
        self._linear(Role.FORWARD, module, module.query, "Q", "Wq", "X")
        self._attend(Role.QK, module, "S", "K", "Q")
        self.host("softmax", f"{path}.softmax", [f"{path}.S"], [f"{path}.P"])
        self._attend(Role.PV, module, "O", "V.T", "P")
        self._linear(Role.FORWARD, module, module.out, "out", "Wo", "O")
        self._declare(module, "dY")
        self.host("loss", f"{path}.loss", [f"{path}.out"], [f"{path}.dY"])

    def _module_backward(self, module: Module) -> None:
        path = module.path
        self._declare(module, "dO", "dP", "dS", "dQ", "dX", "dK", "dV")
        self._linear(Role.DX, module, module.out, "dO", "Wo.T", "dY")
        self._attend(Role.DP, module, "dP", "V", "dO")
        reads = [f"{path}.dP", f"{path}.P"]
        self.host("softmax_backward", f"{path}.softmax_backward", reads, [f"{path}.dS"])
        self._attend(Role.DQ, module, "dQ", "K.T", "dS")
        self._linear(Role.DX, module, module.query, "dX", "Wq.T", "dQ")
        self._attend(Role.DK, module, "dK", "dS", "Q.T")
        self._attend(Role.DV, module, "dV", "P", "dO.T")
        self.host("collect", f"{path}.collect", [f"{path}.{x}" for x in ("dX", "dK", "dV")], [])

    def _linear(self, role, module: Module, site: str, out: str, left: str, right: str) -> None:
        path = module.path
        weights = self.whole(f"{path}.{left.removesuffix('.T')}")
        weights = weights.T if left.endswith(".T") else weights
        self.gemm(role, site, self.whole(f"{path}.{out}"), weights, self.whole(f"{path}.{right}"))

    # Everything else

    def _plain(self, product: Product) -> None:
        """Emit a product of other layers; each of its repetitions has windows of rows."""
        name, self.plain = f"plain.{self.plain}", self.plain + 1
        sizes = {"left": (product.m, product.k), "right": (product.k, product.n),
                 "out": (product.m, product.n)}  # fmt: skip
        for each, (rows, columns) in sizes.items():
            self.value(f"{name}.{each}", rows * product.count, columns)
        self.host("plain", name, [], [f"{name}.left", f"{name}.right"])
        for index in range(product.count):
            views = {each: View(f"{name}.{each}", Span(index * rows, rows), Span(0, columns))
                     for each, (rows, columns) in sizes.items()}  # fmt: skip
            self.gemm(f"{name}.{product.role}.{index}", product.site, views["out"],
                      views["left"], views["right"])  # fmt: skip
        self.host("collect", f"{name}.collect", [f"{name}.out"], [])
