import { FormatError, type NDArray } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readPickle } from './pickle.ts';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));

// d = defaultdict(list, {0: [1, 2], 1: [0, -70000, 2**40, 2**70, 1.5, True, None, 'é\n', b'\xff\x00']})
// pickle.dumps({'a': (1, 2, 3, 4), 'd': d, 'l': [d, d], 'o': OrderedDict([('k', 1)])}, protocol)
const dumps = [
  '286470300a56610a70310a2849310a49320a49330a49340a7470320a7356640a70330a63636f6c6c656374696f6e730a64656661756c74646963740a70340a28635f5f6275696c74696e5f5f0a6c6973740a70350a7470360a5270370a49300a286c70380a49310a6149320a617349310a286c70390a49300a61492d37303030300a614c313039393531313632373737364c0a614c313138303539313632303731373431313330333432344c0a6146312e350a614930310a614e6156e95c75303030610a7031300a61635f636f646563730a656e636f64650a7031310a2856ff5c75303030300a7031320a566c6174696e310a7031330a747031340a527031350a617373566c0a7031360a286c7031370a67370a6167370a6173566f0a7031380a63636f6c6c656374696f6e730a4f726465726564446963740a7031390a2874527032300a566b0a7032310a49310a73732e',
  '7d7100285801000000617101284b014b024b034b04747102580100000064710363636f6c6c656374696f6e730a64656661756c74646963740a710428635f5f6275696c74696e5f5f0a6c6973740a7105747106527107284b005d7108284b014b02654b015d7109284b004a90eefeff4c313039393531313632373737364c0a4c313138303539313632303731373431313330333432344c0a473ff80000000000004930310a4e5803000000c3a90a710a635f636f646563730a656e636f64650a710b285803000000c3bf00710c58060000006c6174696e31710d74710e52710f657558010000006c71105d711128680768076558010000006f711263636f6c6c656374696f6e730a4f726465726564446963740a71132952711458010000006b71154b0173752e',
  '80027d7100285801000000617101284b014b024b034b04747102580100000064710363636f6c6c656374696f6e730a64656661756c74646963740a7104635f5f6275696c74696e5f5f0a6c6973740a7105857106527107284b005d7108284b014b02654b015d7109284b004a90eefeff8a060000000000018a09000000000000000040473ff8000000000000884e5803000000c3a90a710a635f636f646563730a656e636f64650a710b5803000000c3bf00710c58060000006c6174696e31710d86710e52710f657558010000006c71105d711128680768076558010000006f711263636f6c6c656374696f6e730a4f726465726564446963740a71132952711458010000006b71154b0173752e',
  '80037d7100285801000000617101284b014b024b034b04747102580100000064710363636f6c6c656374696f6e730a64656661756c74646963740a7104636275696c74696e730a6c6973740a7105857106527107284b005d7108284b014b02654b015d7109284b004a90eefeff8a060000000000018a09000000000000000040473ff8000000000000884e5803000000c3a90a710a4302ff00710b657558010000006c710c5d710d28680768076558010000006f710e63636f6c6c656374696f6e730a4f726465726564446963740a710f2952711058010000006b71114b0173752e',
  '800495bc000000000000007d94288c016194284b014b024b034b0474948c0164948c0b636f6c6c656374696f6e73948c0b64656661756c74646963749493948c086275696c74696e73948c046c69737494939485945294284b005d94284b014b02654b015d94284b004a90eefeff8a060000000000018a09000000000000000040473ff8000000000000884e8c03c3a90a944302ff009465758c016c945d9428680b680b658c016f9468048c0b4f726465726564446963749493942952948c016b944b0173752e',
].map(hex);

/** numpy.array(…) as NumPy pickles it in protocol 2; `state` follows the shape. */
const array = (type: string, order: string, shape: string, fortran: boolean, data: number[]): Uint8Array => {
  const text = (value: string): string => `U${String.fromCharCode(value.length)}${value}`;
  return ascii(
    `\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85${text('b')}\x87R(K\x01${shape}` +
      `cnumpy\ndtype\n${text(type)}K\x00K\x01\x87R(K\x03${text(order)}NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb` +
      `${fortran ? '\x88' : '\x89'}${text(String.fromCharCode(...data))}tb.`,
  );
};

describe('readPickle', () => {
  it('reads plain data in every protocol', () => {
    const inner = new Map<unknown, unknown>([
      [0, [1, 2]],
      [1, [0, -70000, 2 ** 40, 2n ** 70n, 1.5, true, null, 'é\n', '\xff\0']],
    ]);
    for (const [protocol, bytes] of dumps.entries()) {
      const value = readPickle(bytes);
      const expected = new Map<unknown, unknown>([
        ['a', [1, 2, 3, 4]],
        ['d', inner],
        ['l', [inner, inner]],
        ['o', new Map([['k', 1]])],
      ]);
      expect(value, `protocol ${protocol}`).toEqual(expected);
    }
  });

  it('reads NumPy arrays in both byte and element orders', () => {
    const little = readPickle(
      array('i2', '<', 'K\x02K\x03\x86', false, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]),
    ) as NDArray;
    expect(little).toEqual({ dtype: 'int16', shape: [2, 3], data: Int16Array.from([1, 2, 3, 4, 5, 6]) });
    const big = readPickle(array('i2', '>', 'K\x02\x85', false, [1, 0, 0, 1])) as NDArray;
    expect(big.data).toEqual(Int16Array.from([256, 1]));
    const fortran = readPickle(array('u1', '|', 'K\x02K\x02\x86', true, [1, 2, 3, 4])) as NDArray;
    expect(fortran.data).toEqual(Uint8Array.from([1, 3, 2, 4]));
  });

  it('reads protocol-0 strings', () => {
    expect(readPickle(ascii("S'it\\'s \\x41\\n'\n."))).toBe("it's A\n");
    expect(readPickle(ascii('V\\u20ac\\U0001f600\n.'))).toBe('€😀');
  });

  it('runs nothing', () => {
    expect(() => readPickle(ascii("cos\nsystem\n(S'true'\ntR."), 'evil')).toThrow('evil: refers to os.system');
    expect(() => readPickle(ascii('c__builtin__\neval\n.'))).toThrow('__builtin__.eval');
    expect(() => readPickle(ascii('cconstructor\nprototype\n.'))).toThrow(FormatError);
    expect(() => readPickle(ascii("(S'true'\nios\nsystem\n."))).toThrow('opcode 0x69');
    expect(() => readPickle(ascii('cnumpy\nndarray\n.'))).toThrow('bare class');
  });

  it('refuses every cut', () => {
    const whole = array('i2', '<', 'K\x02\x85', false, [1, 0, 2, 0]);
    for (const bytes of [...dumps, whole]) {
      for (let length = 0; length < bytes.length; length++) {
        expect(() => readPickle(bytes.subarray(0, length))).toThrow(FormatError);
      }
    }
  });

  it('answers any changed byte with a value or a FormatError', () => {
    for (const bytes of [...dumps, array('i2', '<', 'K\x02\x85', false, [1, 0, 2, 0])]) {
      for (let at = 0; at < bytes.length; at++) {
        for (const flip of [0x01, 0x10, 0x80, 0xff]) {
          const damaged = bytes.slice();
          damaged[at] ^= flip;
          try {
            readPickle(damaged);
          } catch (error) {
            expect(error, `byte ${at} ^ ${flip}`).toBeInstanceOf(FormatError);
          }
        }
      }
    }
  });

  it('refuses arrays whose data does not fit their shape, cycles and deep nests', () => {
    expect(() => readPickle(array('i2', '<', 'K\x05\x85', false, [1, 0]))).toThrow('truncated');
    expect(() => readPickle(array('i2', '<', 'K\x01\x85', false, [1, 0, 2, 0]))).toThrow('2 bytes too many');
    expect(() => readPickle(array('O8', '|', 'K\x01\x85', false, [1]))).toThrow("'O8' is not supported");
    expect(() => readPickle(ascii(']q\x00h\x00a.'))).toThrow('contains itself');
    expect(() => readPickle(ascii(`${'('.repeat(5000)}${'t'.repeat(5000)}.`))).toThrow('nested');
  });
});
