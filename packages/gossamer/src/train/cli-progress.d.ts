// The part of cli-progress that is used; the package has no types of its own.
declare module 'cli-progress' {
  interface Bar {
    update(value: number, payload?: object): void;
  }
  interface Options {
    stream?: NodeJS.WritableStream;
    format?: (options: object, params: { value: number; maxWidth: number }, payload: object) => string;
    fps?: number;
    linewrap?: boolean;
    hideCursor?: boolean;
    gracefulExit?: boolean;
    clearOnComplete?: boolean;
    emptyOnZero?: boolean;
  }
  export class MultiBar {
    constructor(options: Options);
    create(total: number, start: number, payload: object): Bar;
    remove(bar: Bar): boolean;
    log(line: string): void;
    update(): void;
    stop(): void;
  }
}
