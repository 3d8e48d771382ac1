#!/usr/bin/env python3
"""Do the `gguf` package and hearth mean the same by a GGUF file?

    check_gguf_with_python.py FILE.gguf...

Reads each file with the package's reader, writes what was read with the package's writer, and compares the bytes: keys,
types, order, alignment, tensor places and padding must all agree. Files to try: any that `hearth convert` wrote, or the
reader's fuzz seeds (`build/tests/gguf_fuzz_test --write-seeds DIR`). Files with the formats F8_E4M3 and I4_G128, which the
package does not know, are told apart. Needs: pip install gguf
"""
import sys
import tempfile
from pathlib import Path

import gguf

EXTENSION_FORMATS = (0x4801, 0x4802)
APPENDIX_KEY = "hearth.appendix"


def value_of(field):
    """The value in the form that GGUFWriter takes; strings as bytes, for not every string is UTF-8."""
    items = [field.parts[i] for i in field.data]
    if field.types[-1] == gguf.GGUFValueType.STRING:
        items = [bytes(item) for item in items]
    else:
        items = [item[0].item() for item in items]
    return items if field.types[0] == gguf.GGUFValueType.ARRAY else items[0]


def rewrite(path, copy, dequantize=False):
    """Copies a file through the package; `dequantize` makes every tensor F32."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(copy, arch="")
    writer.kv_data[0].clear()  # the writer begins with an architecture of its own
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, value_of(field), field.types[0], sub_type=field.types[-1])
        else:
            writer.add_key_value(name, value_of(field), field.types[0])
    writer.data_alignment = int(reader.alignment)
    for tensor in reader.tensors:
        if dequantize:
            writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return reader


def check(path):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.gguf"
        try:
            reader = rewrite(path, copy)
        except ValueError as error:
            if not any(str(number) in str(error) for number in EXTENSION_FORMATS):
                return f"FAILED: {error}"
            return f"skipped: an extension format ({error})"
        ours, theirs = Path(path).read_bytes(), copy.read_bytes()
        if APPENDIX_KEY in reader.fields:  # tensors of ours behind the container, which the package does not see
            ours = ours[:value_of(reader.fields[APPENDIX_KEY])]
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            return f"FAILED: {len(ours)} bytes here, {len(theirs)} from the package; the first difference is at {at}"
        return f"same {len(ours)} bytes: {len(reader.fields) - 3} keys, {len(reader.tensors)} tensors"


def main():
    results = [(path, check(path)) for path in sys.argv[1:]]
    for path, result in results:
        print(f"{path}: {result}")
    sys.exit(any(result.startswith("FAILED") for _, result in results) or not results)


if __name__ == "__main__":
    main()
